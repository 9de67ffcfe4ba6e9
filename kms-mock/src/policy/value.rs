//! Typed values of conditions as policies and requests write them: numbers,
//! instants, truth values, address blocks.
//!
//! Source of truth: IAM user guide, "Condition operators" (numeric, date, Boolean,
//! binary, IP address and ARN operators). Text that is not of the type has no
//! value, and matches nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339};

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// An instant in nanoseconds since 1970: an ISO 8601 date, a date and time with
/// or without seconds and offset, or seconds since the epoch.
pub(super) fn parse_date(text: &str) -> Option<i128> {
    use time::macros::format_description;
    if let Ok(secs) = text.parse::<i64>() {
        return Some(i128::from(secs) * 1_000_000_000);
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at.unix_timestamp_nanos());
    }
    let local = text.strip_suffix('Z').unwrap_or(text);
    if let Ok(day) = time::Date::parse(local, format_description!("[year]-[month]-[day]")) {
        return Some(day.midnight().assume_utc().unix_timestamp_nanos());
    }
    let minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    PrimitiveDateTime::parse(local, minutes)
        .or_else(|_| PrimitiveDateTime::parse(local, seconds))
        .ok()
        .map(|at| at.assume_utc().unix_timestamp_nanos())
}

/// An address block, `203.0.113.0/24` or a single address.
pub(super) struct Network {
    bits: u128,
    /// How many of the bits belong to the host.
    host_bits: u32,
    is_v4: bool,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let (bits, is_v4) = bits_of(address.parse().ok()?);
        let width = if is_v4 {
            Ipv4Addr::BITS
        } else {
            Ipv6Addr::BITS
        };
        let host_bits = match length {
            Some(length) => width.checked_sub(length.parse().ok()?)?,
            None => 0,
        };
        Some(Self {
            bits,
            host_bits,
            is_v4,
        })
    }

    /// The first address of the block and, unless the block reaches the end of
    /// its family, the first after it.
    pub(super) fn edges(&self) -> (IpAddr, Option<IpAddr>) {
        let last_of_family = if self.is_v4 {
            u128::from(u32::MAX)
        } else {
            u128::MAX
        };
        let hosts = self.hosts();
        let last = self.bits | hosts;
        let after = (last < last_of_family).then(|| self.address(last + 1));
        (self.address(self.bits & !hosts), after)
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits_of(address);
        is_v4 == self.is_v4 && bits | self.hosts() == self.bits | self.hosts()
    }

    /// The bits of the host, all set.
    fn hosts(&self) -> u128 {
        match self.host_bits {
            Ipv6Addr::BITS => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }

    fn address(&self, bits: u128) -> IpAddr {
        if self.is_v4 {
            Ipv6Addr::from_bits(V4_MAPPED | bits).to_canonical()
        } else {
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// `::ffff:0:0/96`, in which each IPv4 address has its place.
const V4_MAPPED: u128 = 0xffff << 32;

fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_begins_and_ends_where_it_should() {
        for (block, first, after) in [
            ("203.0.113.7/24", "203.0.113.0", Some("203.0.114.0")),
            ("203.0.113.7", "203.0.113.7", Some("203.0.113.8")),
            ("0.0.0.0/0", "0.0.0.0", None),
            ("255.255.255.0/24", "255.255.255.0", None),
            ("2001:db8::1/32", "2001:db8::", Some("2001:db9::")),
            ("::/0", "::", None),
            ("ffff::/16", "ffff::", None),
        ] {
            let address = |text: &str| text.parse::<IpAddr>().unwrap();
            let network = Network::parse(block).unwrap();
            let wanted = (address(first), after.map(address));
            assert_eq!(network.edges(), wanted, "{block}");
            assert!(network.holds(address(first)), "{block}");
            assert!(
                !after.map(address).is_some_and(|it| network.holds(it)),
                "{block}"
            );
        }
        for text in ["203.0.113.0/33", "::/129", "203.0.113/24", "x", "::1/"] {
            assert!(Network::parse(text).is_none(), "{text}");
        }
    }
}
