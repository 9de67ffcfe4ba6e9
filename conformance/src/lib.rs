//! The judge and the bench to stand on: [`lab`] wires a whole world for a test
//! or a demo, [`demo`] runs the main job in it, [`suites`] hold the cases that
//! judge simulators and real hardware alike, [`report`] tells how they went.
//!
//! Reading order: [`lab`], [`demo`], [`case`], [`target`], [`suites`],
//! [`report`], [`cli`].

pub mod case;
pub mod cli;
pub mod demo;
pub mod lab;
pub mod report;
pub mod suites;
pub mod target;
