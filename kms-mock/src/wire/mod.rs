//! How AWS's protocols write and sign: XML elements, percent-encoded text, signing
//! keys.

pub(crate) mod signing;
pub(crate) mod uri;
pub(crate) mod xml;
