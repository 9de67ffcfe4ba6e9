//! Requests a second and the server's processor time a request, in times of the
//! floor.
//!
//! At sixteen connections two cores are full, one of the server's and one of the
//! generator's; so requests a second flatter a slow server's ratio a little, and
//! processor time is the figure that a machine with more cores would show too.

use std::{path::Path, time::Duration};

use nsm_sim::{attestation::pki::Pki, seed::WorldSeed};

use super::{
    Figures, Line, LoadError,
    calls::Calls,
    client::{Connection, Load, Requests},
    own_server, serve_command,
    server::Server,
    signed,
};
use crate::promise::{Limit, Promise, median};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1000);

/// What is measured: an operation, the floor beside it, and the promises.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    floor: &'static str,
    per_second_at_least: Option<f64>,
    cpu_at_most: Option<f64>,
}

pub(super) async fn measure(kms_mock: &Path, tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let seed = WorldSeed::from_u64(1);
    let root = attestation_root(&seed)?;
    let mut command = serve_command(kms_mock);
    command.arg("--attestation-root").arg(root.path());
    let kms = Server::start(&mut command)?;
    let calls = Calls::prepare(&mut Connection::open(kms.address()).await?, &seed).await?;
    for case in cases(calls) {
        let floor = own_server("floor", case.floor)?;
        compare(&case, &kms, &floor, tell).await?;
    }
    let strict = signed::server(kms_mock)?;
    let case = Case {
        name: "Encrypt, signature verified, by a grant",
        request: signed::encrypt(&mut Connection::open(strict.address()).await?).await?,
        floor: "plain",
        per_second_at_least: None,
        cpu_at_most: None,
    };
    compare(&case, &strict, &own_server("floor", case.floor)?, tell).await?;
    Ok(())
}

/// A file with the simulated root of `seed`.
pub(super) fn attestation_root(seed: &WorldSeed) -> Result<tempfile::NamedTempFile, LoadError> {
    let system = |source| LoadError::System {
        what: "writing the attestation root",
        source,
    };
    let root = tempfile::NamedTempFile::new().map_err(system)?;
    let pki = Pki::new(seed, crate::REGION);
    std::fs::write(root.path(), pki.root_pem()).map_err(system)?;
    Ok(root)
}

fn cases(calls: Calls) -> Vec<Case> {
    let plain = |name, request| Case {
        name,
        request,
        floor: "plain",
        per_second_at_least: Some(0.6),
        cpu_at_most: Some(1.7),
    };
    vec![
        plain("Encrypt", calls.encrypt),
        plain("Decrypt", calls.decrypt),
        plain("GenerateDataKey", calls.generate_data_key),
        Case {
            per_second_at_least: Some(0.4),
            cpu_at_most: None,
            ..plain("Sign", calls.sign.clone())
        },
        // Processors differ in what a signature takes more than in all the rest.
        Case {
            floor: "signing",
            per_second_at_least: Some(0.8),
            cpu_at_most: None,
            ..plain("Sign", calls.sign)
        },
        Case {
            floor: "attested",
            per_second_at_least: None,
            cpu_at_most: Some(1.3),
            ..plain("attested Decrypt", calls.attested_decrypt)
        },
    ]
}

/// One round of one server.
pub(super) struct Round {
    pub(super) per_second: f64,
    pub(super) cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

async fn compare(
    case: &Case,
    kms: &Server,
    floor: &Server,
    tell: &mut impl FnMut(Line),
) -> Result<(), LoadError> {
    let requests = Requests::one(case.request.clone());
    let mut on_kms = Load::open(kms.address(), CONNECTIONS, &requests).await?;
    let mut on_floor = Load::open(floor.address(), CONNECTIONS, &requests).await?;
    let (mut of_kms, mut of_floor) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        // Whoever comes first finds the caches of the other; so they take turns.
        if number % 2 == 0 {
            of_floor.push(round(floor, &mut on_floor, ROUND).await?);
            of_kms.push(round(kms, &mut on_kms, ROUND).await?);
        } else {
            of_kms.push(round(kms, &mut on_kms, ROUND).await?);
            of_floor.push(round(floor, &mut on_floor, ROUND).await?);
        }
    }
    let floor_name = match case.floor {
        "plain" => "the floor",
        _ => "the floor with its cryptography",
    };
    tell(figures(format!("{}, kms-mock", case.name), &of_kms));
    tell(figures(format!("{}, {floor_name}", case.name), &of_floor));
    let ratio = |of: fn(&Round) -> f64| {
        let rounds = of_kms.iter().zip(&of_floor);
        median(rounds.map(|(kms, floor)| of(kms) / of(floor)).collect())
    };
    if let Some(least) = case.per_second_at_least {
        tell(Line::Promise(Promise {
            what: format!("{}: requests a second, in those of {floor_name}", case.name),
            measured: ratio(|round| round.per_second),
            limit: Limit::AtLeast(least),
            unit: "x",
        }));
    }
    if let Some(most) = case.cpu_at_most {
        tell(Line::Promise(Promise {
            what: format!("{}: CPU a request, in that of {floor_name}", case.name),
            measured: ratio(|round| round.cpu_us),
            limit: Limit::AtMost(most),
            unit: "x",
        }));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^53
pub(super) async fn round(
    server: &Server,
    load: &mut Load,
    time: Duration,
) -> Result<Round, LoadError> {
    let before = server.cpu()?;
    let driven = load.drive(time).await?;
    let cpu = server.cpu()?.saturating_sub(before);
    Ok(Round {
        per_second: driven.per_second(),
        cpu_us: cpu.as_secs_f64() * 1e6 / driven.requests as f64,
        p50_us: driven.latency_us(50),
        p99_us: driven.latency_us(99),
    })
}

fn figures(what: String, rounds: &[Round]) -> Line {
    let of = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    Line::Figures(Figures {
        what,
        per_second: of(|round| round.per_second),
        cpu_us: of(|round| round.cpu_us),
        p50_us: of(|round| round.p50_us),
        p99_us: of(|round| round.p99_us),
    })
}
