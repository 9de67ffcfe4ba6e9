//! Times as the protocol writes them, and as rows of the data directory.

use nsm_sim::clock::UnixMillis;
use s3s::dto::Timestamp;
use time::OffsetDateTime;

/// Seconds: S3 writes no fractions in headers.
pub(crate) fn timestamp(at: UnixMillis) -> Timestamp {
    exactly(UnixMillis::from_secs(at.as_secs()))
}

/// With milliseconds. A time after the year 9999, which no date of S3 can say, is
/// written as that year's end.
pub(crate) fn exactly(at: UnixMillis) -> Timestamp {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000);
    Timestamp::from(at.unwrap_or(LAST))
}

const LAST: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59 UTC);

/// A time as milliseconds since 1970.
pub(crate) mod millis {
    use nsm_sim::clock::UnixMillis;
    use serde::{Deserialize, Deserializer, Serializer};

    // serde asks with references.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(
        at: &UnixMillis,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixMillis, D::Error> {
        u64::deserialize(deserializer).map(UnixMillis)
    }
}

/// A header's time as seconds since 1970.
pub(crate) mod seconds {
    use s3s::dto::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use time::OffsetDateTime;

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let at = at.clone().map(OffsetDateTime::from);
        at.map(OffsetDateTime::unix_timestamp).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let at = Option::<i64>::deserialize(deserializer)?;
        at.map(|at| OffsetDateTime::from_unix_timestamp(at).map(Timestamp::from))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_date_can_say_is_the_last_one() {
        assert_eq!(exactly(UnixMillis(u64::MAX)), Timestamp::from(LAST));
        assert_eq!(timestamp(UnixMillis(1_999)), exactly(UnixMillis(1_000)));
    }
}
