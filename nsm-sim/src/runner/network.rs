//! The enclave has no network: addresses beyond loopback are unreachable. This
//! is the rule for machines that give a run no loopback of its own
//! ([`super::loopback`]).
//!
//! Models a machine whose only interface is `lo`: `connect` and `send*` to
//! anything else is `ENETUNREACH`, `bind` to a foreign address is
//! `EADDRNOTAVAIL`. Source of truth: `ip(7)`. A known difference: loopback is
//! the machine's own, so a server of the machine on 127.0.0.1 can be reached
//! here and cannot in an enclave. Does not model raw sockets' own headers or
//! netlink views of the machine's interfaces.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// This machine, or not an internet address at all.
    Here,
    /// Beyond loopback.
    Elsewhere,
}

/// Classifies the bytes of a `sockaddr`.
pub(crate) fn destination(address: &[u8]) -> Destination {
    let family = address
        .first_chunk::<2>()
        .map_or(0, |family| u16::from_ne_bytes(*family));
    let here = match i32::from(family) {
        libc::AF_INET => {
            let ip = address
                .get(4..8)
                .and_then(|ip| <[u8; 4]>::try_from(ip).ok());
            ip.is_none_or(|ip| is_here(Ipv4Addr::from(ip)))
        }
        libc::AF_INET6 => {
            let ip = address
                .get(8..24)
                .and_then(|ip| <[u8; 16]>::try_from(ip).ok());
            ip.map(Ipv6Addr::from)
                .is_none_or(|ip| match ip.to_ipv4_mapped() {
                    Some(mapped) => is_here(mapped),
                    None => ip.is_loopback() || ip.is_unspecified(),
                })
        }
        _ => true,
    };
    if here {
        Destination::Here
    } else {
        Destination::Elsewhere
    }
}

fn is_here(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(ip: [u8; 4]) -> Vec<u8> {
        [&2_u16.to_ne_bytes()[..], &[0, 80], &ip, &[0; 8]].concat()
    }

    fn v6(ip: &str) -> Vec<u8> {
        let ip: Ipv6Addr = ip.parse().unwrap();
        [
            &10_u16.to_ne_bytes()[..],
            &[0, 80],
            &[0; 4],
            &ip.octets(),
            &[0; 4],
        ]
        .concat()
    }

    #[test]
    fn loopback_is_here_and_everything_else_is_elsewhere() {
        assert_eq!(destination(&v4([127, 0, 0, 53])), Destination::Here);
        assert_eq!(destination(&v4([0; 4])), Destination::Here);
        assert_eq!(
            destination(&v4([169, 254, 169, 254])),
            Destination::Elsewhere
        );
        assert_eq!(destination(&v6("::1")), Destination::Here);
        assert_eq!(destination(&v6("::ffff:127.0.0.1")), Destination::Here);
        assert_eq!(destination(&v6("::ffff:8.8.8.8")), Destination::Elsewhere);
        assert_eq!(destination(&v6("fe80::1")), Destination::Elsewhere);
        assert_eq!(destination(&[1, 0, b'/', 0]), Destination::Here); // AF_UNIX
    }

    proptest! {
        #[test]
        fn no_address_makes_it_panic(address: Vec<u8>) {
            let _ = destination(&address);
        }
    }
}
