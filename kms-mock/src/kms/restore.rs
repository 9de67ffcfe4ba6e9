//! What the data directory has of KMS, put in place before the first call.

use super::service::Kms;
use crate::{
    journal::{ReadError, Snapshot},
    keys,
};

impl Kms {
    /// Puts everything in place.
    pub(crate) fn load(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        if let Some(key) = keys::load::load(snapshot, &self.store, &self.key_stores)? {
            self.token_key.get_or_init(|| key);
        }
        Ok(())
    }
}
