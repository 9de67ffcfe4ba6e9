//! What IAM and STS do, an object each file, without the authorization of the call that
//! asks for it.

mod boundary;
mod entities;
mod federation;
mod groups;
mod holders;
mod policies;
mod roles;
mod sessions;
mod users;

pub(crate) use self::policies::NewPolicy;
pub use self::{roles::NewRole, sessions::Session, users::NewUser};
