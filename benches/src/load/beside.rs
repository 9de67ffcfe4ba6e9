//! One `kms-mock` beside another, an older one for the most part: the same calls in
//! many short rounds by turns, so that a machine that slows down slows both, and of
//! each figure the median of the rounds' ratios.

use std::{path::Path, time::Duration};

use nsm_sim::seed::WorldSeed;

use super::{
    LoadError,
    calls::Calls,
    client::{Connection, Load, Requests},
    serve_command,
    server::Server,
    signed,
    speed::{self, Round},
};
use crate::promise::median;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 21;
/// Long enough for processor time in ticks of 10 ms to be right to a few percent.
const ROUND: Duration = Duration::from_millis(500);

/// How one call goes in the new program, in times of the old one.
#[derive(Clone, Debug)]
pub struct Ratios {
    /// The call.
    pub name: &'static str,
    /// Requests a second.
    pub per_second: f64,
    /// Processor time a request.
    pub cpu: f64,
}

impl std::fmt::Display for Ratios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            per_second,
            cpu,
        } = self;
        write!(f, "{name:<28} {per_second:>6.3} x /s {cpu:>6.3} x CPU")
    }
}

/// Compares the programs and gives each line to `tell` as it is ready.
///
/// # Errors
/// [`LoadError`], when a server does not run or answers what it must not.
pub(super) async fn measure(
    new: &Path,
    old: &Path,
    mut tell: impl FnMut(Ratios),
) -> Result<(), LoadError> {
    let (new, old) = (Side::start(new).await?, Side::start(old).await?);
    for (new_call, old_call) in new.calls().into_iter().zip(old.calls()) {
        tell(compare(new_call, old_call).await?);
    }
    Ok(())
}

/// A program, as a server for each kind of call.
struct Side {
    plain: Server,
    strict: Server,
    calls: Calls,
    signed: Vec<u8>,
    /// Kept until the server has read it.
    _root: tempfile::NamedTempFile,
}

/// A call and who answers it.
type Asked<'a> = (&'static str, &'a Server, &'a [u8]);

impl Side {
    async fn start(program: &Path) -> Result<Self, LoadError> {
        let seed = WorldSeed::from_u64(1);
        let root = speed::attestation_root(&seed)?;
        let mut command = serve_command(program);
        command.arg("--attestation-root").arg(root.path());
        let plain = Server::start(&mut command)?;
        let calls = Calls::prepare(&mut Connection::open(plain.address()).await?, &seed).await?;
        let strict = signed::server(program)?;
        let signed = signed::encrypt(&mut Connection::open(strict.address()).await?).await?;
        Ok(Self {
            plain,
            strict,
            calls,
            signed,
            _root: root,
        })
    }

    fn calls(&self) -> [Asked<'_>; 6] {
        let Self { plain, calls, .. } = self;
        [
            ("Encrypt", plain, &calls.encrypt),
            ("Decrypt", plain, &calls.decrypt),
            ("GenerateDataKey", plain, &calls.generate_data_key),
            ("Sign", plain, &calls.sign),
            ("attested Decrypt", plain, &calls.attested_decrypt),
            ("Encrypt, signed, by a grant", &self.strict, &self.signed),
        ]
    }
}

async fn compare(new: Asked<'_>, old: Asked<'_>) -> Result<Ratios, LoadError> {
    let open = |(_, server, request): Asked<'_>| {
        let (address, requests) = (server.address(), Requests::one(request.to_vec()));
        async move { Load::open(address, CONNECTIONS, &requests).await }
    };
    let (mut on_new, mut on_old) = (open(new).await?, open(old).await?);
    let mut rounds: Vec<(Round, Round)> = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS {
        // Whoever comes first finds the caches of the other; so they take turns.
        rounds.push(if number % 2 == 0 {
            let old = speed::round(old.1, &mut on_old, ROUND).await?;
            (speed::round(new.1, &mut on_new, ROUND).await?, old)
        } else {
            let new = speed::round(new.1, &mut on_new, ROUND).await?;
            (new, speed::round(old.1, &mut on_old, ROUND).await?)
        });
    }
    let ratio = |of: fn(&Round) -> f64| {
        let ratios = rounds.iter().map(|(new, old)| of(new) / of(old));
        median(ratios.collect())
    };
    Ok(Ratios {
        name: new.0,
        per_second: ratio(|round| round.per_second),
        cpu: ratio(|round| round.cpu_us),
    })
}
