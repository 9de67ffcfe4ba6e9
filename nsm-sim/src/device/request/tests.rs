//! The decoder against ground truth NSM §2 and §2.1, row by row.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

const DESCRIBE: &str = "a1 6b4465736372696265504352";
const EXTEND: &str = "a1 69457874656e64504352";
const ATTEST: &str = "a1 6b4174746573746174696f6e";
const INDEX: &str = "65696e646578";
const DATA: &str = "6464617461";
const USER_DATA: &str = "69757365725f64617461";
const NONCE: &str = "656e6f6e6365";
const GET_RANDOM: &str = "6947657452616e646f6d";

fn describe(index: u16) -> Command<'static> {
    Command::DescribePcr { index }
}

fn extend(data: &[u8]) -> Command<'static> {
    Command::ExtendPcr {
        index: 16,
        data: Cow::Owned(data.to_vec()),
    }
}

fn attest(user_data: Option<&[u8]>, nonce: Option<&[u8]>) -> Command<'static> {
    Command::Attestation(AttestationFields {
        user_data: user_data.map(|bytes| Cow::Owned(bytes.to_vec())),
        nonce: nonce.map(|bytes| Cow::Owned(bytes.to_vec())),
        public_key: None,
    })
}

/// Ground truth NSM §2, "Requests".
#[test]
fn decodes_the_bytes_that_awss_crate_sends() {
    let cases = [
        (format!("{DESCRIBE} a1 {INDEX} 00"), describe(0)),
        (format!("{DESCRIBE} a1 {INDEX} 1818"), describe(24)),
        (format!("{DESCRIBE} a1 {INDEX} 190100"), describe(256)),
        (
            format!("{EXTEND} a2 {INDEX} 10 {DATA} 43010203"),
            extend(&[1, 2, 3]),
        ),
        (
            format!("a1 674c6f636b504352 a1 {INDEX} 10"),
            Command::LockPcr { index: 16 },
        ),
        (
            "a1 684c6f636b50435273 a1 6572616e6765 1820".to_owned(),
            Command::LockPcrs { range: 32 },
        ),
        ("6b44657363726962654e534d".to_owned(), Command::DescribeNsm),
        (GET_RANDOM.to_owned(), Command::GetRandom),
        (
            format!("{ATTEST} a3 {USER_DATA} f6 {NONCE} f6 6a7075626c69635f6b6579 f6"),
            attest(None, None),
        ),
    ];
    for (request, command) in cases {
        assert_eq!(decode(&hex(&request)), Ok(command), "{request}");
    }
}

/// Ground truth NSM §2.1: one block a row, in the table's order.
#[test]
fn accepts_and_refuses_what_serde_cbor_does_row_by_row() {
    use DecodeFault as F;
    let body = |rest: &str| format!("{DESCRIBE} {rest}");
    let rows: Vec<(&str, String, Result<Command<'static>, F>)> = vec![
        (
            "non-minimal index",
            body(&format!("a1 {INDEX} 1800")),
            Ok(describe(0)),
        ),
        (
            "non-minimal index",
            body(&format!("a1 {INDEX} 190010")),
            Ok(describe(16)),
        ),
        (
            "non-minimal index",
            body(&format!("a1 {INDEX} 1a00000010")),
            Ok(describe(16)),
        ),
        (
            "non-minimal index",
            body(&format!("a1 {INDEX} 1b0000000000000010")),
            Ok(describe(16)),
        ),
        (
            "index 256..65535",
            body(&format!("a1 {INDEX} 190100")),
            Ok(describe(256)),
        ),
        (
            "index 256..65535",
            body(&format!("a1 {INDEX} 19ffff")),
            Ok(describe(65535)),
        ),
        (
            "index > 65535",
            body(&format!("a1 {INDEX} 1a00010000")),
            Err(F::WrongType),
        ),
        (
            "negative index",
            body(&format!("a1 {INDEX} 20")),
            Err(F::WrongType),
        ),
        (
            "float index",
            body(&format!("a1 {INDEX} f90000")),
            Err(F::WrongType),
        ),
        (
            "text index",
            body(&format!("a1 {INDEX} 6130")),
            Err(F::WrongType),
        ),
        (
            "outer map indefinite",
            format!("bf {} a1 {INDEX} 00 ff", &DESCRIBE[3..]),
            Err(F::WrongType),
        ),
        (
            "inner map indefinite",
            body(&format!("bf {INDEX} 00 ff")),
            Ok(describe(0)),
        ),
        (
            "unknown inner key",
            body(&format!("a2 {INDEX} 01 637a7a7a 05")),
            Ok(describe(1)),
        ),
        (
            "unknown inner key first, with a nested value",
            body(&format!(
                "a2 637a7a7a 82a1f5fb4009000000000000 9f3bffffffffffffffffff {INDEX} 01"
            )),
            Ok(describe(1)),
        ),
        (
            "duplicate inner key",
            body(&format!("a2 {INDEX} 01 {INDEX} 01")),
            Err(F::DuplicateField("index")),
        ),
        (
            "duplicate inner key",
            format!("{ATTEST} a2 {NONCE} f6 {NONCE} f6"),
            Err(F::DuplicateField("nonce")),
        ),
        ("missing field", body("a0"), Err(F::MissingField("index"))),
        (
            "missing field",
            format!("{EXTEND} a1 {INDEX} 10"),
            Err(F::MissingField("data")),
        ),
        ("positional body", body("81 00"), Ok(describe(0))),
        (
            "positional body",
            format!("{EXTEND} 82 10 4101"),
            Ok(extend(&[1])),
        ),
        (
            "positional body",
            format!("{ATTEST} 83 f6 4178 f6"),
            Ok(attest(None, Some(b"x"))),
        ),
        (
            "positional body, too short",
            format!("{ATTEST} 82 f6 f6"),
            Err(F::WrongLength),
        ),
        (
            "positional body, too long",
            body("82 00 00"),
            Err(F::WrongLength),
        ),
        (
            "outer map with two entries",
            format!("a2 {GET_RANDOM} f6 6b44657363726962654e534d f6"),
            Err(F::WrongType),
        ),
        ("empty input", String::new(), Err(F::Truncated)),
        (
            "truncated",
            "6947657452616e646f".to_owned(),
            Err(F::Truncated),
        ),
        ("truncated", body(&format!("a1 {INDEX}")), Err(F::Truncated)),
        (
            "trailing bytes",
            format!("{GET_RANDOM} 00"),
            Err(F::TrailingBytes),
        ),
        (
            "trailing bytes",
            body(&format!("a1 {INDEX} 00 ff")),
            Err(F::TrailingBytes),
        ),
        (
            "unit with null",
            format!("a1 {GET_RANDOM} f6"),
            Ok(Command::GetRandom),
        ),
        (
            "unit with a map",
            format!("a1 {GET_RANDOM} a0"),
            Err(F::WrongType),
        ),
        (
            "bare Attestation",
            ATTEST[3..].to_owned(),
            Err(F::WrongType),
        ),
        (
            "Attestation null",
            format!("{ATTEST} f6"),
            Err(F::WrongType),
        ),
        (
            "Attestation {}",
            format!("{ATTEST} a0"),
            Ok(attest(None, None)),
        ),
        (
            "fewer keys",
            format!("{ATTEST} a1 {NONCE} 416e"),
            Ok(attest(None, Some(b"n"))),
        ),
        (
            "bytes as text",
            format!("{EXTEND} a2 {INDEX} 10 {DATA} 6568656c6c6f"),
            Ok(extend(b"hello")),
        ),
        (
            "bytes as int array",
            format!("{EXTEND} a2 {INDEX} 10 {DATA} 83 01 1802 1900ff"),
            Ok(extend(&[1, 2, 255])),
        ),
        (
            "bytes as int array, out of range",
            format!("{EXTEND} a2 {INDEX} 10 {DATA} 81 190100"),
            Err(F::WrongType),
        ),
        (
            "indefinite bytes",
            format!("{EXTEND} a2 {INDEX} 10 {DATA} 5f 4101 4102 ff"),
            Ok(extend(&[1, 2])),
        ),
        (
            "undefined for an option",
            format!("{ATTEST} a1 {USER_DATA} f7"),
            Err(F::WrongType),
        ),
        ("variant by number", "06".to_owned(), Ok(Command::GetRandom)),
        (
            "variant by number",
            "a1 00 81 07".to_owned(),
            Ok(describe(7)),
        ),
        (
            "variant by number, unknown",
            "07".to_owned(),
            Err(F::UnknownCommand),
        ),
        (
            "variant as bytes",
            "4947657452616e646f6d".to_owned(),
            Ok(Command::GetRandom),
        ),
        (
            "array form",
            format!("82 {} a1 {INDEX} 03", &DESCRIBE[3..]),
            Ok(describe(3)),
        ),
        (
            "array form, indefinite",
            format!("9f {GET_RANDOM} f6 ff"),
            Ok(Command::GetRandom),
        ),
        (
            "array form without a body",
            format!("81 {GET_RANDOM}"),
            Err(F::WrongLength),
        ),
        (
            "leading tag",
            format!("d9d9f7 {GET_RANDOM}"),
            Err(F::Tagged),
        ),
        (
            "leading tag",
            format!("d9d9f7 {DESCRIBE} a1 {INDEX} 00"),
            Err(F::Tagged),
        ),
    ];
    for (row, request, expected) in rows {
        assert_eq!(decode(&hex(&request)), expected, "{row}: {request}");
    }
}

/// What serde_cbor 0.11.2 was seen to do beyond the table's rows.
#[test]
fn follows_serde_cbor_where_the_table_is_silent() {
    use DecodeFault as F;
    let cases = [
        (
            format!("a1 c0 {} a1 {INDEX} 00", &DESCRIBE[3..]),
            Ok(describe(0)),
        ),
        (format!("{DESCRIBE} a2 {INDEX} 00 05 f6"), Ok(describe(0))),
        (format!("{DESCRIBE} a1 00 07"), Ok(describe(7))),
        (format!("{DESCRIBE} a2 {INDEX} 00 20 f6"), Err(F::WrongType)),
        (format!("a1 {GET_RANDOM} f7"), Ok(Command::GetRandom)),
        (format!("a1 {GET_RANDOM} c0f6"), Ok(Command::GetRandom)),
        (format!("7f {GET_RANDOM} ff"), Ok(Command::GetRandom)),
        (
            "7f 63476574 6652616e646f6d ff".to_owned(),
            Ok(Command::GetRandom),
        ),
        (format!("{ATTEST} a1 {NONCE} c0f6"), Err(F::WrongType)),
        (
            "b801".to_owned() + &format!("{GET_RANDOM} f6"),
            Err(F::WrongType),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(decode(&hex(&request)), expected, "{request}");
    }
}

#[test]
fn nesting_is_bounded_where_serde_cbor_bounds_it() {
    // Command and body are two levels; 125 more make 127, 126 make 128.
    for (levels, fits) in [(125, true), (126, false), (4000, false)] {
        let mut request = hex(&format!("{DESCRIBE} a2 {INDEX} 00 6161"));
        request.extend(std::iter::repeat_n(0x81, levels));
        request.push(0);
        let expected = if fits {
            Ok(describe(0))
        } else {
            Err(DecodeFault::TooDeep)
        };
        assert_eq!(decode(&request), expected, "{levels} levels");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(request in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&request);
    }

    #[test]
    fn a_changed_request_decodes_or_is_refused(at in 0_usize..64, byte in any::<u8>(), cut in 0_usize..64) {
        let mut request = hex(&format!("{ATTEST} a3 {USER_DATA} 5f41014102ff {NONCE} 8101 6a7075626c69635f6b6579 7f6161ff"));
        let at = at % request.len();
        request[at] = byte;
        let _ = decode(&request);
        request.truncate(cut);
        let _ = decode(&request);
    }

    #[test]
    fn data_comes_through_unchanged(data in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut request = hex(&format!("{EXTEND} a2 {INDEX} 10 {DATA} 59"));
        request.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        request.extend(&data);
        prop_assert_eq!(decode(&request), Ok(extend(&data)));
    }
}
