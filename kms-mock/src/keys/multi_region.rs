//! Which keys of several Regions are one multi-Region key.
//!
//! Source of truth: AWS KMS developer guide, "Multi-Region keys in AWS KMS". The
//! related keys share key id, material and automatic rotation; each has its own
//! policy, grants, aliases, tags, description and state. Nothing here crosses a
//! network: all Regions live in one process.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use crate::world::arn::region_of;

/// A primary key and its replicas.
#[derive(Debug)]
pub(crate) struct Family {
    /// ARN of its first primary key, which names it for ever.
    pub(crate) name: Arc<str>,
    members: RwLock<Members>,
}

/// ARNs of related keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) primary: Arc<str>,
    pub(crate) replicas: BTreeSet<Arc<str>>,
}

impl Family {
    pub(crate) fn new(primary: Arc<str>) -> Self {
        Self::named(Arc::clone(&primary), primary)
    }

    /// A family whose primary key has changed since.
    pub(crate) fn named(name: Arc<str>, primary: Arc<str>) -> Self {
        Self {
            name,
            members: RwLock::new(Members {
                primary,
                replicas: BTreeSet::new(),
            }),
        }
    }

    pub(crate) fn members(&self) -> Members {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.clone()
    }

    pub(crate) fn is_primary(&self, arn: &str) -> bool {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        &*members.primary == arn
    }

    /// Whether there was none in its Region.
    pub(crate) fn add_replica(&self, arn: Arc<str>) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.primary != arn && members.replicas.insert(arn)
    }

    pub(crate) fn remove_replica(&self, arn: &str) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.replicas.remove(arn);
    }

    /// Exchanges the roles of the primary key and a replica; whether it was one.
    pub(crate) fn make_primary(&self, arn: &Arc<str>) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if !members.replicas.remove(arn) {
            return false;
        }
        let old = std::mem::replace(&mut members.primary, Arc::clone(arn));
        members.replicas.insert(old);
        true
    }
}

impl Members {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// The related key in a Region.
    pub(crate) fn in_region(&self, region: &str) -> Option<&Arc<str>> {
        self.all().find(|arn| region_of(arn) == region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arn(region: &str) -> Arc<str> {
        format!("arn:aws:kms:{region}:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab").into()
    }

    #[test]
    fn roles_are_exchanged_and_nobody_is_lost() {
        let (us, eu, ap) = (arn("us-east-1"), arn("eu-west-1"), arn("ap-south-1"));
        let family = Family::new(Arc::clone(&us));
        assert!(family.add_replica(Arc::clone(&eu)));
        assert!(!family.add_replica(Arc::clone(&eu)));
        assert!(!family.add_replica(Arc::clone(&us)));
        assert!(!family.make_primary(&ap));
        assert!(family.make_primary(&eu));
        assert!(family.is_primary(&eu) && !family.is_primary(&us));
        let members = family.members();
        assert_eq!(members.all().collect::<Vec<_>>(), [&eu, &us]);
        assert_eq!(members.in_region("us-east-1"), Some(&us));
        assert_eq!(members.in_region("ap-south-1"), None);
        family.remove_replica(&us);
        assert_eq!(family.members().replicas.len(), 0);
    }
}
