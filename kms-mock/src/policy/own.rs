//! Policies as traces hold them. Every call keeps the policies that decided it, and
//! most keys of an account share one: the threads that evaluate it would all count
//! the same references. So a thread counts its own, to a reference it has made once.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use super::document::Policy;

/// Policies that a thread holds ready; a power of two.
const PLACES: usize = 16;

/// A policy, by a reference that this thread counts alone.
#[derive(Clone, Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "the outer reference is there to be counted by one thread"
)]
pub(super) struct OwnPolicy(Arc<Arc<Policy>>);

thread_local! {
    static OWN: RefCell<[Option<OwnPolicy>; PLACES]> =
        const { RefCell::new([const { None }; PLACES]) };
}

impl OwnPolicy {
    pub(super) fn of(policy: &Arc<Policy>) -> Self {
        let new = || Self(Arc::new(Arc::clone(policy)));
        OWN.with_borrow_mut(|places| {
            // Addresses of allocations differ above their lowest bits.
            let place = (Arc::as_ptr(policy).addr() >> 6) % PLACES;
            let Some(place) = places.get_mut(place) else {
                return new();
            };
            // What is held here is not freed, so no other policy has its address.
            match place {
                Some(own) if Arc::ptr_eq(&*own.0, policy) => own.clone(),
                _ => place.insert(new()).clone(),
            }
        })
    }
}

impl Deref for OwnPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_held_once_and_never_taken_for_another() {
        let policies: Vec<Arc<Policy>> = (0..100_u64)
            .map(|n| Arc::new(Policy::default_for_key(&format!("{n:012}"))))
            .collect();
        for policy in policies.iter().chain(&policies) {
            let (own, again) = (OwnPolicy::of(policy), OwnPolicy::of(policy));
            assert!(Arc::ptr_eq(&own.0, &again.0));
            assert!(Arc::ptr_eq(&*own.0, policy));
        }
    }
}
