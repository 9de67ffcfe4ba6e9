//! Buckets: made, set up, found, deleted.

use nsm_sim::clock::UnixMillis;

use super::{
    Store,
    error::StoreError,
    records::{Settings, Versioning},
    state::{Bucket, Change},
};
use crate::s3::values::{
    access::{CannedAcl, Ownership},
    bucket_policy::BucketPolicy,
    lock::BucketLock,
    tags::Tags,
};

impl Store {
    /// Makes a bucket.
    pub(crate) fn create_bucket(
        &self,
        name: &str,
        (account, region): (&str, &str),
        settings: Settings,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.change_to(|buckets| match buckets.by_name.get(name) {
            Some(bucket) if bucket.account == account => {
                Err(StoreError::OwnedByYou(name.to_owned()))
            }
            Some(_) => Err(StoreError::OwnedByAnother(name.to_owned())),
            None => Ok(Change::BucketMade {
                bucket: name.to_owned(),
                account: account.to_owned(),
                region: region.to_owned(),
                created: now,
                settings: Box::new(settings),
            }),
        })
    }

    /// Forgets an empty bucket; uploads under way do not keep it.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            let found = buckets.bucket(name)?;
            if !found.keys.is_empty() {
                let versioned = found.versioning != Versioning::Never;
                return Err(StoreError::BucketNotEmpty(name.to_owned(), versioned));
            }
            let bucket = name.to_owned();
            Ok(Change::BucketGone { bucket })
        })
    }

    pub(crate) fn set_versioning(
        &self,
        name: &str,
        versioning: Versioning,
    ) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            let locked = buckets.bucket(name)?.settings.lock.is_some();
            if locked && versioning != Versioning::Enabled {
                return Err(StoreError::VersioningLocked);
            }
            let bucket = name.to_owned();
            Ok(Change::VersioningSet { bucket, versioning })
        })
    }

    pub(crate) fn tag_bucket(&self, name: &str, tags: Tags) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            buckets.bucket(name)?;
            let bucket = name.to_owned();
            Ok(Change::BucketTagged { bucket, tags })
        })
    }

    /// Changes what a bucket is set up with.
    pub(crate) fn set_up(
        &self,
        name: &str,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(), StoreError> {
        self.change_to(|buckets| Ok(set_up(name, buckets.bucket(name)?, change)))
    }

    /// Gives a bucket object lock, which it keeps.
    pub(crate) fn lock_bucket(&self, name: &str, lock: BucketLock) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            let found = buckets.bucket(name)?;
            if found.versioning != Versioning::Enabled {
                return Err(StoreError::NotVersioned);
            }
            Ok(set_up(name, found, |it| it.lock = Some(lock)))
        })
    }

    /// The owner of a bucket.
    pub(crate) fn owner(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.read().bucket(name)?.account.clone())
    }

    /// The Region that a bucket is in.
    pub(crate) fn region(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.read().bucket(name)?.region.clone())
    }

    /// Name, Region and creation of each bucket of `account`, by name.
    pub(crate) fn buckets(&self, account: &str) -> Vec<(String, String, UnixMillis)> {
        let buckets = self.read();
        let own = buckets.by_name.iter();
        let own = own.filter(|(_, bucket)| bucket.account == account);
        own.map(|(name, bucket)| (name.clone(), bucket.region.clone(), bucket.created))
            .collect()
    }

    pub(crate) fn versioning(&self, name: &str) -> Result<Versioning, StoreError> {
        Ok(self.read().bucket(name)?.versioning)
    }

    pub(crate) fn settings(&self, name: &str) -> Result<Settings, StoreError> {
        Ok(self.read().bucket(name)?.settings.clone())
    }

    /// What decides about requests for a bucket and what is in it.
    pub(crate) fn access(&self, name: &str) -> Result<Access, StoreError> {
        let buckets = self.read();
        let bucket = buckets.bucket(name)?;
        let settings = &bucket.settings;
        let has_lists = settings.ownership != Some(Ownership::BucketOwnerEnforced);
        let blocked = settings.public_access;
        let ignored = blocked.is_some_and(|it| it.ignore_acls);
        Ok(Access {
            account: bucket.account.clone(),
            policy: settings.policy.clone(),
            acl: (has_lists && !ignored).then_some(settings.acl),
            restricts_public: blocked.is_some_and(|it| it.restrict_buckets),
        })
    }

    pub(crate) fn bucket_tags(&self, name: &str) -> Result<Tags, StoreError> {
        Ok(self.read().bucket(name)?.tags.clone())
    }
}

/// What decides about requests for a bucket beside its caller's own policies.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The owner of the bucket and of everything in it.
    pub(crate) account: String,
    pub(crate) policy: Option<BucketPolicy>,
    /// `None` where lists do not count.
    pub(crate) acl: Option<CannedAcl>,
    /// Whether a public policy is for the owner's account alone.
    pub(crate) restricts_public: bool,
}

impl Access {
    /// That of what belongs to an account and has no policy.
    pub(crate) fn of_account(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            policy: None,
            acl: None,
            restricts_public: false,
        }
    }
}

fn set_up(name: &str, bucket: &Bucket, change: impl FnOnce(&mut Settings)) -> Change {
    let mut settings = Box::new(bucket.settings.clone());
    change(&mut settings);
    let bucket = name.to_owned();
    Change::BucketSetUp { bucket, settings }
}
