//! The verifier and changed bytes: nothing panics, and nothing that is not the
//! document convinces.

use std::sync::LazyLock;

use nsm_sim::{
    attestation::{variance::Variance, verify::Verifier},
    clock::UnixMillis,
    device::{Measurements, NitroSecureModule, Profile},
    seed::WorldSeed,
};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_782_779_620_694);

static DOCUMENT: LazyLock<(Verifier, Vec<u8>)> = LazyLock::new(|| {
    let profile = Profile {
        measurements: Measurements::of_one_part(b"image"),
        role_arn: None,
        instance_id: "i-0123456789abcdef0".to_owned(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: NOW,
        enclave_nonce: 7,
    };
    let mut module = NitroSecureModule::new(profile, &WorldSeed::from_u64(1), Variance::default());
    let reply = module.handle(NOW, b"\xa1\x6bAttestation\xa0");
    let document = reply[26..].to_vec(); // behind the reply's own head
    module.pki().verifier().verify(&document, NOW).unwrap();
    (module.pki().verifier(), document)
});

/// One edit of a byte string.
#[derive(Clone, Debug)]
enum Edit {
    Flip(usize, u8),
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Truncate(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (at(), 1..64_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at(), 1..64_usize).prop_map(|(at, len)| Edit::Repeat(at, len)),
        at().prop_map(Edit::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let len = bytes.len().max(1);
    match *edit {
        Edit::Flip(at, bit) => {
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte ^= 1 << bit;
            }
        }
        Edit::Set(at, value) => {
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte = value;
            }
        }
        Edit::Insert(at, value) => bytes.insert(at % len, value),
        Edit::Remove(at, count) => {
            let from = at % len;
            bytes.drain(from.min(bytes.len())..(from + count).min(bytes.len()));
        }
        Edit::Repeat(at, count) => {
            let from = at % len;
            let piece = bytes[from.min(bytes.len())..(from + count).min(bytes.len())].to_vec();
            bytes.splice(from..from, piece);
        }
        Edit::Truncate(at) => bytes.truncate(at % len),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_document_is_refused(edits in prop::collection::vec(edit(), 1..5)) {
        let (verifier, document) = &*DOCUMENT;
        let mut changed = document.clone();
        for edit in &edits {
            apply(&mut changed, edit);
        }
        if changed != *document {
            prop_assert!(verifier.verify(&changed, NOW).is_err());
            prop_assert!(verifier.verify_at_own_time(&changed).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(DOCUMENT.0.verify(&bytes, NOW).is_err());
        // Behind a good frame, so that the payload's reader sees them.
        let mut framed = vec![0x84, 0x44, 0xa1, 1, 0x38, 0x22, 0xa0, 0x59];
        framed.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend(&bytes);
        framed.extend([0x58, 0x60]);
        framed.extend([7; 96]);
        prop_assert!(DOCUMENT.0.verify(&framed, NOW).is_err());
    }
}
