//! Header values that every answer has: the date, and the reason of a refusal.
//!
//! Source of truth: RFC 9110 §5.6.7 for dates. The reason is the emulator's own.

use http::HeaderValue;
use nsm_sim::clock::UnixMillis;
use time::OffsetDateTime;

/// Longest reason in a header: it may quote what the client sent.
const REASON_BYTES_MAX: usize = 1024;

/// `Date` by the world's clock: SDKs whose signature is refused for its time set
/// their clock by it and try again.
pub(super) fn date(now: UnixMillis) -> HeaderValue {
    const DAYS: [[u8; 3]; 7] = [
        *b"Sun", *b"Mon", *b"Tue", *b"Wed", *b"Thu", *b"Fri", *b"Sat",
    ];
    const MONTHS: [[u8; 3]; 12] = [
        *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct",
        *b"Nov", *b"Dec",
    ];
    let at = i64::try_from(now.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    let Some(at) = at else {
        return HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT");
    };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let [w1, w2, w3] = DAYS[usize::from(at.weekday().number_days_from_sunday())];
    let [m1, m2, m3] = MONTHS[usize::from(u8::from(month)) - 1];
    // Nothing before 1970 and nothing after 9999: `time` goes no further.
    let year = year.unsigned_abs();
    let two = |number: u32| [number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
    let ([y1, y2], [y3, y4]) = (two(year / 100), two(year));
    let [[d1, d2], [h1, h2], [i1, i2], [s1, s2]] =
        [day, hour, minute, second].map(|number| two(number.into()));
    let text = [
        w1, w2, w3, b',', b' ', d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', h1, h2, b':',
        i1, i2, b':', s1, s2, b' ', b'G', b'M', b'T',
    ];
    HeaderValue::from_bytes(&text).expect("letters, digits and spaces")
}

/// A reason in visible ASCII.
pub(super) fn reason_header(reason: &str) -> Option<HeaderValue> {
    let visible = reason
        .chars()
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' });
    HeaderValue::from_str(&visible.take(REASON_BYTES_MAX).collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let at = UnixMillis(784_111_777_000); // the example of RFC 9110
        assert_eq!(date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(UnixMillis(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        let leap_day = UnixMillis(1_709_251_199_000);
        assert_eq!(date(leap_day), "Thu, 29 Feb 2024 23:59:59 GMT");
        let last = UnixMillis(253_402_300_799_000);
        assert_eq!(date(last), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(UnixMillis(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn reasons_are_cut_and_made_visible() {
        assert_eq!(reason_header("a\nb\u{e9}").unwrap(), "a?b?");
        assert_eq!(
            reason_header(&"x".repeat(5_000)).unwrap().len(),
            REASON_BYTES_MAX
        );
    }
}
