//! The NSM's requests, registers, locks and errors: every row of the ground
//! truth's NSM §3 that a client can see.
//!
//! Error names that only QEMU and the enum's documentation prove are judged as
//! those sources have them; the sentence says so.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest;
use aws_nitro_enclaves_nsm_api::api::{Digest, ErrorCode, Request, Response};
use serde_bytes::ByteBuf;

use crate::{
    case::Judge,
    target::{Boot, Enclave, NsmTarget},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/Webserver";

/// Judges the target.
pub(super) async fn judge(judge: &mut Judge<'_>, target: &dyn NsmTarget) {
    type Work = fn(&dyn NsmTarget) -> anyhow::Result<()>;
    let cases: &[(&str, &str, Work)] = &[
        (
            "the bank has 32 registers of 48 bytes, 0 to 15 locked, 16 to 31 zero and open",
            "NSM §3.1",
            bank,
        ),
        (
            "ExtendPCR hashes the old value and the raw data and answers the new value",
            "NSM §3.2",
            extend,
        ),
        (
            "ExtendPCR with empty data changes the register",
            "NSM §3.2, QEMU §6",
            extend_empty,
        ),
        ("LockPCR locks one register for good", "NSM §3.3", lock_one),
        (
            "LockPCR of a register that is locked already is ReadOnlyIndex",
            "NSM §3.3, §3.5",
            lock_again,
        ),
        (
            "LockPCRs locks the registers below its range, whatever is locked already",
            "NSM §3.4",
            lock_range,
        ),
        (
            "LockPCRs accepts 0 and 32 and refuses 33 as InvalidIndex",
            "NSM §3.4",
            lock_range_bounds,
        ),
        (
            "an index of 32 or more is InvalidIndex",
            "NSM §3.5",
            bad_index,
        ),
        (
            "extending a locked register is ReadOnlyIndex and leaves it as it was",
            "NSM §3.5",
            extend_locked,
        ),
        (
            "DescribeNSM is version 1.0.0 with SHA384 and an ascending list of locks",
            "NSM §3.6",
            describe,
        ),
        (
            "module_id is the instance id and 16 hex digits that begin with the creation time",
            "NSM §3.7",
            module_id,
        ),
        (
            "GetRandom answers 256 bytes, others each time",
            "NSM §3.8",
            random,
        ),
        (
            "user_data, nonce and public_key of 1024 bytes each are accepted together",
            "NSM §3.9",
            big_fields,
        ),
        (
            "a request over 4096 bytes is InputTooLarge",
            "NSM §1.3, §3.5",
            oversized,
        ),
        (
            "a document lists every locked register, zero ones too, and no open one",
            "NSM §3.10",
            listed,
        ),
        (
            "in debug mode only PCR0, PCR1 and PCR2 are zero",
            "NSM §3.11",
            debug,
        ),
        (
            "PCR3 is the hash of the role's ARN, and zero without a role",
            "NSM §3.12",
            pcr3,
        ),
        ("PCR4 is the hash of the instance id", "NSM §3.12", pcr4),
        (
            "PCR8 is the image's when it is signed, and zero when not",
            "NSM §3.12",
            pcr8,
        ),
        (
            "six hundred requests in the order of AWS's own check all answer as it asserts",
            "NSM §6",
            aws_check,
        ),
    ];
    for (name, truth, work) in cases {
        judge.case(name, truth, async { work(target) }).await;
    }
}

fn bank(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    for index in 0..32 {
        let (lock, data) = pcr(&mut *enclave, index)?;
        ensure!(data.len() == 48, "PCR{index} has {} bytes", data.len());
        ensure!(lock == (index < 16), "PCR{index} locked: {lock}");
        ensure!(index < 16 || data == [0; 48], "PCR{index} is not zero");
    }
    Ok(())
}

fn extend(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let mut expected = vec![0; 48];
    for data in [&b"\x01\x02\x03"[..], &[7; 4000], b"\x01\x02\x03"] {
        expected = sha384(&[&expected, data]);
        let answered = extend_pcr(&mut *enclave, 16, data)?;
        ensure!(
            answered == expected,
            "the answer is {}",
            hex::encode(answered)
        );
        ensure!(
            pcr(&mut *enclave, 16)?.1 == expected,
            "DescribePCR disagrees with ExtendPCR"
        );
    }
    ensure!(
        pcr(&mut *enclave, 17)?.1 == [0; 48],
        "another register changed"
    );
    Ok(())
}

fn extend_empty(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let answered = extend_pcr(&mut *enclave, 31, b"")?;
    ensure!(
        answered == sha384(&[&[0; 48]]),
        "the answer is {}",
        hex::encode(answered)
    );
    Ok(())
}

fn lock_one(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    lock(&mut *enclave, 20)?;
    for index in 16..32 {
        ensure!(
            pcr(&mut *enclave, index)?.0 == (index == 20),
            "PCR{index}'s lock is wrong"
        );
    }
    Ok(())
}

fn lock_again(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    lock(&mut *enclave, 16)?;
    for index in (0..=16).rev() {
        refused(&mut *enclave, Request::LockPCR { index }, "ReadOnlyIndex")?;
    }
    Ok(())
}

fn lock_range(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    lock(&mut *enclave, 18)?;
    lock_below(&mut *enclave, 20)?;
    for index in 16..32 {
        ensure!(
            pcr(&mut *enclave, index)?.0 == (index < 20),
            "PCR{index}'s lock is wrong"
        );
    }
    lock_below(&mut *enclave, 20).context("the same range again")
}

fn lock_range_bounds(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    lock_below(&mut *enclave, 0)?;
    ensure!(!pcr(&mut *enclave, 16)?.0, "range 0 locked PCR16");
    for range in [33, 255, 256, u16::MAX] {
        refused(&mut *enclave, Request::LockPCRs { range }, "InvalidIndex")?;
    }
    ensure!(!pcr(&mut *enclave, 31)?.0, "a refused range locked PCR31");
    lock_below(&mut *enclave, 32)?;
    ensure!(pcr(&mut *enclave, 31)?.0, "range 32 left PCR31 open");
    lock_below(&mut *enclave, 32).context("with everything locked")
}

fn bad_index(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    for index in [32, 33, 255, 256, u16::MAX] {
        refused(
            &mut *enclave,
            Request::DescribePCR { index },
            "InvalidIndex",
        )?;
        refused(&mut *enclave, Request::LockPCR { index }, "InvalidIndex")?;
        refused(
            &mut *enclave,
            Request::ExtendPCR {
                index,
                data: vec![1],
            },
            "InvalidIndex",
        )?;
    }
    Ok(())
}

fn extend_locked(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let before = extend_pcr(&mut *enclave, 16, b"once")?;
    lock(&mut *enclave, 16)?;
    for index in 0..=16 {
        refused(
            &mut *enclave,
            Request::ExtendPCR {
                index,
                data: vec![1],
            },
            "ReadOnlyIndex",
        )?;
    }
    ensure!(
        pcr(&mut *enclave, 16)?.1 == before,
        "a refused extension changed PCR16"
    );
    Ok(())
}

fn describe(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    lock(&mut *enclave, 30)?;
    let Response::DescribeNSM {
        version_major,
        version_minor,
        version_patch,
        max_pcrs,
        locked_pcrs,
        digest,
        ..
    } = enclave.request(Request::DescribeNSM)?
    else {
        bail!("the answer to DescribeNSM is something else")
    };
    let version = (version_major, version_minor, version_patch);
    ensure!(version == (1, 0, 0), "version {version:?}");
    ensure!(max_pcrs == 32, "max_pcrs {max_pcrs}");
    ensure!(matches!(digest, Digest::SHA384), "digest {digest:?}");
    let expected: BTreeSet<u16> = (0..16).chain([30]).collect();
    ensure!(locked_pcrs == expected, "locked_pcrs {locked_pcrs:?}");
    Ok(())
}

fn module_id(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let id = describe_module_id(&mut *enclave)?;
    let (instance, enclave_part) = id.split_once("-enc").context("no `-enc` in it")?;
    ensure!(id.len() == 39, "{id} has {} characters", id.len());
    ensure!(
        instance.len() == 19 && instance.starts_with("i-"),
        "{instance} is not an instance id"
    );
    if let Some(expected) = enclave.instance_id() {
        ensure!(instance == expected, "the instance is {instance}");
    }
    let digits = u64::from_str_radix(enclave_part, 16).context("not hex after `-enc`")?;
    let (created, now) = (digits >> 16, now_ms());
    ensure!(
        created <= now && now - created < 365 * 86_400_000,
        "created {created}, now {now}"
    );
    Ok(())
}

fn random(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let mut seen = BTreeSet::new();
    for _ in 0..16 {
        match enclave.request(Request::GetRandom)? {
            Response::GetRandom { random } => {
                ensure!(random.len() == 256, "{} bytes", random.len());
                ensure!(seen.insert(random), "the same bytes twice");
            }
            other => bail!("GetRandom answered {other:?}"),
        }
    }
    Ok(())
}

fn big_fields(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let field = |byte| Some(ByteBuf::from(vec![byte; 1024]));
    let bytes = document(&mut *enclave, field(1), field(2), field(3))?;
    let document = target.verifier().verify_at_own_time(&bytes)?;
    ensure!(
        document.user_data == Some(vec![1; 1024]),
        "user_data is another"
    );
    ensure!(document.nonce == Some(vec![2; 1024]), "nonce is another");
    ensure!(
        document.public_key == Some(vec![3; 1024]),
        "public_key is another"
    );
    Ok(())
}

fn oversized(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let data = vec![0; 4096];
    refused(
        &mut *enclave,
        Request::ExtendPCR { index: 16, data },
        "InputTooLarge",
    )?;
    ensure!(
        pcr(&mut *enclave, 16)?.1 == [0; 48],
        "a refused request changed PCR16"
    );
    Ok(())
}

fn listed(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    extend_pcr(&mut *enclave, 17, b"open, so unlisted")?;
    lock(&mut *enclave, 20)?;
    let bytes = document(&mut *enclave, None, None, None)?;
    let document = target.verifier().verify_at_own_time(&bytes)?;
    let indexes: Vec<u8> = document.pcrs.keys().copied().collect();
    let expected: Vec<u8> = (0..16).chain([20]).collect();
    ensure!(indexes == expected, "the document lists {indexes:?}");
    for (index, value) in &document.pcrs {
        ensure!(
            pcr(&mut *enclave, u16::from(*index))?.1 == *value,
            "PCR{index} differs"
        );
    }
    Ok(())
}

fn debug(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let boot = Boot {
        debug: true,
        role_arn: Some(ROLE.to_owned()),
        ..Boot::plain()
    };
    let mut enclave = target.boot(&boot)?;
    for index in [0, 1, 2] {
        ensure!(
            pcr(&mut *enclave, index)?.1 == [0; 48],
            "PCR{index} is not zero"
        );
    }
    for index in [3, 4] {
        ensure!(
            pcr(&mut *enclave, index)?.1 != [0; 48],
            "PCR{index} is zero"
        );
    }
    Ok(())
}

fn pcr3(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot {
        role_arn: Some(ROLE.to_owned()),
        ..Boot::plain()
    })?;
    let value = hex::encode(pcr(&mut *enclave, 3)?.1);
    ensure!(
        value
            == "78fce75db17cd4e0a3fb8dad3ad128ca5e77edbb2b2c7f75329dccd99aa5f6ef\
                4fc1f1a452e315b9e98f9e312e6921e6",
        "PCR3 is {value}"
    );
    let mut enclave = target.boot(&Boot::plain())?;
    ensure!(
        pcr(&mut *enclave, 3)?.1 == [0; 48],
        "PCR3 without a role is not zero"
    );
    Ok(())
}

fn pcr4(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let id = describe_module_id(&mut *enclave)?;
    let instance = id.split("-enc").next().unwrap_or_default();
    let expected = sha384(&[&[0; 48], instance.as_bytes()]);
    ensure!(pcr(&mut *enclave, 4)?.1 == expected, "PCR4 is another");
    Ok(())
}

fn pcr8(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut boot = Boot::plain();
    let mut enclave = target.boot(&boot)?;
    ensure!(
        pcr(&mut *enclave, 8)?.1 == [0; 48],
        "PCR8 of an unsigned image is not zero"
    );
    boot.measurements.pcr8 = Some([0x88; 48]);
    let mut enclave = target.boot(&boot)?;
    ensure!(
        pcr(&mut *enclave, 8)?.1 == [0x88; 48],
        "PCR8 is not the image's"
    );
    Ok(())
}

/// AWS's own program, request by request: see the ground truth for what it
/// asserts. It needs a fresh, unsigned enclave without a role.
fn aws_check(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let enclave = &mut *enclave;
    ensure!(!describe_module_id(enclave)?.is_empty(), "no module_id");
    ensure!(
        !document(enclave, None, None, None)?.is_empty(),
        "an empty document"
    );
    let zero = |index| index == 3 || index >= 5;
    for index in 0..32 {
        let (lock, data) = pcr(enclave, index)?;
        ensure!(
            data.len() == 48 && lock == (index < 16),
            "PCR{index} before"
        );
        ensure!(
            (data == [0; 48]) == zero(index),
            "PCR{index} before: {}",
            hex::encode(data)
        );
    }
    for index in 0..16 {
        refused(enclave, Request::LockPCR { index }, "ReadOnlyIndex")?;
    }
    for _ in 0..10 {
        for index in 16..32 {
            let data = extend_pcr(enclave, index, &[1, 2, 3])?;
            ensure!(data.len() == 48 && data != [0; 48], "PCR{index} extended");
        }
    }
    for index in 16..32 {
        lock(enclave, index)?;
    }
    lock_below(enclave, 32)?;
    refused(enclave, Request::LockPCRs { range: 33 }, "InvalidIndex")?;
    for index in 0..32 {
        refused(
            enclave,
            Request::ExtendPCR {
                index,
                data: vec![1, 2, 3],
            },
            "ReadOnlyIndex",
        )?;
    }
    for _ in 0..10 {
        for index in 0..32 {
            let (lock, data) = pcr(enclave, index)?;
            let zero = index == 3 || (5..16).contains(&index);
            ensure!(lock && (data == [0; 48]) == zero, "PCR{index} after");
        }
    }
    let field = || Some(ByteBuf::from(vec![128; 1024]));
    for (user_data, nonce, public_key) in [
        (None, None, None),
        (field(), None, None),
        (field(), field(), None),
        (field(), field(), field()),
    ] {
        ensure!(
            !document(enclave, user_data, nonce, public_key)?.is_empty(),
            "an empty document"
        );
    }
    Ok(())
}

pub(super) fn document(
    enclave: &mut dyn Enclave,
    user_data: Option<ByteBuf>,
    nonce: Option<ByteBuf>,
    public_key: Option<ByteBuf>,
) -> anyhow::Result<Vec<u8>> {
    match enclave.request(Request::Attestation {
        user_data,
        nonce,
        public_key,
    })? {
        Response::Attestation { document } => Ok(document),
        other => bail!("Attestation answered {other:?}"),
    }
}

fn pcr(enclave: &mut dyn Enclave, index: u16) -> anyhow::Result<(bool, Vec<u8>)> {
    match enclave.request(Request::DescribePCR { index })? {
        Response::DescribePCR { lock, data } => Ok((lock, data)),
        other => bail!("DescribePCR {index} answered {other:?}"),
    }
}

fn extend_pcr(enclave: &mut dyn Enclave, index: u16, data: &[u8]) -> anyhow::Result<Vec<u8>> {
    match enclave.request(Request::ExtendPCR {
        index,
        data: data.to_vec(),
    })? {
        Response::ExtendPCR { data } => Ok(data),
        other => bail!("ExtendPCR {index} answered {other:?}"),
    }
}

fn lock(enclave: &mut dyn Enclave, index: u16) -> anyhow::Result<()> {
    match enclave.request(Request::LockPCR { index })? {
        Response::LockPCR => Ok(()),
        other => bail!("LockPCR {index} answered {other:?}"),
    }
}

fn lock_below(enclave: &mut dyn Enclave, range: u16) -> anyhow::Result<()> {
    match enclave.request(Request::LockPCRs { range })? {
        Response::LockPCRs => Ok(()),
        other => bail!("LockPCRs {range} answered {other:?}"),
    }
}

pub(super) fn describe_module_id(enclave: &mut dyn Enclave) -> anyhow::Result<String> {
    match enclave.request(Request::DescribeNSM)? {
        Response::DescribeNSM { module_id, .. } => Ok(module_id),
        other => bail!("DescribeNSM answered {other:?}"),
    }
}

fn refused(enclave: &mut dyn Enclave, request: Request, expected: &str) -> anyhow::Result<()> {
    let asked = format!("{request:?}");
    let answer = enclave.request(request)?;
    let name = match &answer {
        Response::Error(code) => error_name(code),
        _ => bail!("{asked} answered {answer:?} instead of an error"),
    };
    ensure!(
        name == expected,
        "{asked} answered {name} instead of {expected}"
    );
    Ok(())
}

fn error_name(code: &ErrorCode) -> String {
    format!("{code:?}")
}

fn sha384(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA384);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn now_ms() -> u64 {
    use nsm_sim::clock::{Clock as _, SystemClock};
    SystemClock.now().0
}
