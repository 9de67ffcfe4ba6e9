//! A running server: [`KmsMock`] in a test, and what `kms-mock serve` runs.
//!
//! ```no_run
//! # async fn test() -> Result<(), kms_mock::StartError> {
//! let mock = kms_mock::KmsMock::builder().start().await?;
//! println!("AWS_ENDPOINT_URL={}", mock.url());
//! # Ok(()) }
//! ```
//! The server has threads of its own, so that a test that blocks does not stop
//! it. It ends when [`KmsMock`] is dropped.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nsm_sim::{
    attestation::{
        pki::Pki,
        verify::{Verifier, VerifyError},
    },
    clock::{Clock, SettableClock},
    seed::WorldSeed,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
};

use super::{
    expect::{Expectation, Unmet},
    explain::Explanation,
    load,
    management::{self, ManagementPort, explain},
    seed::{Present, SeedError, SeedFile},
};
pub use crate::edge::{Auth, Limits, Received};
use crate::{
    edge::{
        Answering, Edge, KmsCalls, Origin, http, serve,
        tls::{Authority, Endpoint, TlsError},
    },
    faults::{Fault, Faults},
    iam::Iam,
    journal::{DataDirError, Journal, World, note_seed_file},
    kms::{Call, Kms, Reply, Settings, XksRootError, XksSettings},
    s3::ObjectStore,
    threads::ring::Ring,
};

/// Connections that wait to be accepted; Linux allows no more than
/// `net.core.somaxconn`, by default as many. A connection beyond them waits a
/// second for its next try.
const BACKLOG: u32 = 4096;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address could not be listened on.
    #[error("listening on {address}: {source}; choose another address or port")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The server's threads could not be started.
    #[error("starting the server's threads: {0}")]
    Threads(#[source] std::io::Error),
    /// A root for attestation documents is not a certificate.
    #[error("an attestation root cannot be used: {0}; give one certificate in PEM")]
    AttestationRoot(#[source] VerifyError),
    /// A root for external key store proxies is not a certificate.
    #[error("a root for external key store proxies cannot be used: {0}; give certificates in PEM")]
    XksRoot(#[from] XksRootError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The management port must not leave the machine.
    #[error(
        "the management port must not be reachable from other machines, and {0} is; choose an address of 127.0.0.1"
    )]
    ManagementNotLocal(SocketAddr),
    /// The seed file has a mistake.
    #[error("the seed file: {0}")]
    Seed(#[from] SeedError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The audit log cannot be written.
    #[error("opening the audit log {}: {source}", file.display())]
    AuditLog {
        /// The file asked for.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A running server; it stops when dropped.
pub struct KmsMock {
    address: SocketAddr,
    edge: Arc<Edge>,
    kms: Arc<Kms>,
    clock: SettableClock,
    management: Option<SocketAddr>,
    expectations: Mutex<Vec<Expectation>>,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
    _kept: CloseOnDrop,
}

/// Gives the data directory back, also when a start ends early.
struct CloseOnDrop(Journal);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The authority of the world's last start, or a fresh one that the next start
/// will have too.
fn kept_authority(world: &mut World) -> Result<Authority, TlsError> {
    if let Some((cert, key)) = &world.authority {
        return Authority::from_pem(cert, key);
    }
    let authority = Authority::generate()?;
    let key = authority.key_pem().to_string();
    world.authority = Some((authority.cert_pem().to_owned(), key));
    Ok(authority)
}

/// What a [`KmsMock`] is built from. Every part has a default.
#[derive(Clone)]
pub struct Builder {
    region: String,
    account: String,
    clock: SettableClock,
    seed: Option<WorldSeed>,
    attestation_roots: Option<Verifier>,
    attestation_roots_pem: Vec<String>,
    freshness_window: Duration,
    xks_roots_pem: Vec<String>,
    xks_answer_time_max: Duration,
    auth: Auth,
    hosts: Vec<String>,
    bind: SocketAddr,
    limits: Limits,
    received_max: usize,
    workers: usize,
    tls_authority: Option<Arc<Authority>>,
    answering: Option<Arc<Answering>>,
    management: Option<SocketAddr>,
    faults: Vec<Fault>,
    seed_file: Option<String>,
    audit_log: Option<PathBuf>,
    data_dir: Option<PathBuf>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("region", &self.region)
            .field("account", &self.account)
            .field("auth", &self.auth)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KmsMock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KmsMock")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl KmsMock {
    /// A server in `us-east-1`, account 123456789012, on a free port of
    /// 127.0.0.1, with the machine's clock and lenient authentication.
    #[must_use]
    pub fn builder() -> Builder {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Builder {
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            clock: SettableClock::running(),
            seed: None,
            attestation_roots: None,
            attestation_roots_pem: Vec::new(),
            freshness_window: Duration::from_secs(300),
            xks_roots_pem: Vec::new(),
            xks_answer_time_max: XksSettings::default().answer_time_max,
            auth: Auth::Lenient,
            hosts: Vec::new(),
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            limits: Limits::default(),
            received_max: 1024,
            workers: cores.clamp(2, 8),
            tls_authority: None,
            answering: None,
            management: None,
            faults: Vec::new(),
            seed_file: None,
            audit_log: None,
            data_dir: None,
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…`, for `AWS_ENDPOINT_URL`. The same port speaks TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The root certificate of the server's TLS, PEM.
    ///
    /// # Panics
    /// If the cryptographic library has no key to give.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        let pem = self.edge.tls.ca_pem();
        pem.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The key management service itself.
    #[must_use]
    pub fn kms(&self) -> &Kms {
        &self.kms
    }

    /// The identities, for making roles and keys without HTTP.
    #[must_use]
    pub fn iam(&self) -> &Iam {
        &self.edge.iam
    }

    /// The world's clock, for moving it.
    #[must_use]
    pub fn clock(&self) -> &SettableClock {
        &self.clock
    }

    /// The requests answered so far, oldest first, at most as many as
    /// [`Builder::received_max`].
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.edge.received.entries()
    }

    /// The faults, for arming and disarming them.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.edge.faults
    }

    /// Why a request ended as it did, by the `x-amzn-RequestId` of its answer;
    /// `None` if it is not remembered (any more).
    #[must_use]
    pub fn explain(&self, request_id: &str) -> Option<Explanation> {
        explain(&self.kms, &self.edge, request_id)
    }

    /// Where the management port listens, if there is one.
    #[must_use]
    pub fn management_address(&self) -> Option<SocketAddr> {
        self.management
    }

    /// `http://…` of the management port, if there is one.
    #[must_use]
    pub fn management_url(&self) -> Option<String> {
        self.management.map(|address| format!("http://{address}"))
    }

    /// Serves one connection over a stream that is open already, as plain HTTP from
    /// this machine, wherever the future is polled. For counting what a call takes
    /// without a socket.
    #[doc(hidden)]
    pub fn serve_stream<S>(&self, stream: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let origin = Origin::plain(peer);
        http(
            Arc::clone(&self.edge),
            stream,
            origin,
            self.stop.subscribe(),
        )
    }

    /// Expects requests. Dropping the server panics when they did not come, and
    /// says which came instead.
    pub fn expect(&self, expectation: Expectation) {
        let mut expectations = self
            .expectations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        expectations.push(expectation);
    }

    /// Whether everything expected so far has come; it is not asked for again.
    ///
    /// # Errors
    /// [`Unmet`], which lists the requests received.
    pub fn verify(&self) -> Result<(), Box<Unmet>> {
        let expectations = std::mem::take(
            &mut *self
                .expectations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        Unmet::judge(&expectations, self.received())
    }

    /// Stops listening and waits for requests in flight, five seconds at most.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(serving) = self.serving.take() {
            let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
        }
    }
}

impl Drop for KmsMock {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // a drop inside another runtime may not block
        }
        if !std::thread::panicking()
            && let Err(unmet) = self.verify()
        {
            panic!("{unmet}");
        }
    }
}

impl Builder {
    /// The Region of the endpoint; default `us-east-1`.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The account of callers that do not say theirs; default 123456789012.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// The world's clock; default the machine's.
    #[must_use]
    pub fn clock(mut self, clock: SettableClock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes keys and ids repeat from run to run; random without.
    #[must_use]
    pub fn seed(mut self, seed: WorldSeed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Trusts attestation documents under this root too, PEM.
    #[must_use]
    pub fn attestation_root_pem(mut self, pem: &str) -> Self {
        self.attestation_roots_pem.push(pem.to_owned());
        self
    }

    /// Trusts the roots of `verifier` instead of a simulated one: for example
    /// AWS's own, to judge documents of real hardware.
    #[must_use]
    pub fn attestation_roots(mut self, verifier: Verifier) -> Self {
        self.attestation_roots = Some(verifier);
        self
    }

    /// Those given; without any, the simulated root of `seed`.
    fn trusted_roots(&self, seed: &WorldSeed) -> Result<Verifier, StartError> {
        let given = self.attestation_roots_pem.iter().try_fold(
            self.attestation_roots.clone(),
            |trusted, pem| match trusted {
                Some(verifier) => verifier.and_root_pem(pem).map(Some),
                None => Verifier::with_root_pem(pem).map(Some),
            },
        );
        Ok(given
            .map_err(StartError::AttestationRoot)?
            .unwrap_or_else(|| Pki::new(seed, &self.region).verifier()))
    }

    /// How old an attestation document may be; default five minutes.
    #[must_use]
    pub fn freshness_window(mut self, window: Duration) -> Self {
        self.freshness_window = window;
        self
    }

    /// Verifies the TLS of external key store proxies under the certificates of
    /// `pem` instead of the machine's roots; may be called again for more.
    #[cfg(feature = "xks")]
    #[must_use]
    pub fn xks_root_pem(mut self, pem: impl Into<String>) -> Self {
        self.xks_roots_pem.push(pem.into());
        self
    }

    /// How long an external key store proxy may take to answer; default 250 ms, as
    /// on AWS.
    #[cfg(feature = "xks")]
    #[must_use]
    pub fn xks_answer_time_max(mut self, time: Duration) -> Self {
        self.xks_answer_time_max = time;
        self
    }

    fn xks_settings(&self) -> Result<XksSettings, XksRootError> {
        let mut settings = XksSettings {
            answer_time_max: self.xks_answer_time_max,
            ..XksSettings::default()
        };
        for pem in &self.xks_roots_pem {
            settings.add_root_pem(pem)?;
        }
        Ok(settings)
    }

    /// What a signature must be; default [`Auth::Lenient`].
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Answers under this host name too, and under all names below it, such as
    /// `kms.lab.example`. With lenient authentication a request is refused whose
    /// `Host` is neither an address, nor a name without a dot, nor `localhost`, nor
    /// one of AWS's or LocalStack's: it may be a web page's.
    #[must_use]
    pub fn allow_host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_owned());
        self
    }

    /// Where to listen; default a free port of 127.0.0.1.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Bounds on input and waits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many requests [`KmsMock::received`] remembers; default 1024.
    #[must_use]
    pub fn received_max(mut self, max: usize) -> Self {
        self.received_max = max;
        self
    }

    /// Threads that serve; default one a core, 2 to 8.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Signs the TLS leaf with a kept authority; default a fresh one.
    #[must_use]
    pub fn tls_authority(mut self, authority: Authority) -> Self {
        self.tls_authority = Some(Arc::new(authority));
        self
    }

    /// Lets a function answer KMS calls instead of the KMS, behind the same edge.
    #[must_use]
    pub fn answer_kms_calls(
        mut self,
        answer: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.answering = Some(Arc::new(answer));
        self
    }

    /// Opens a management port too, on a free port of 127.0.0.1; default none.
    #[must_use]
    pub fn management(mut self, open: bool) -> Self {
        self.management = open.then_some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        self
    }

    /// Opens the management port at an address of this machine.
    #[must_use]
    pub fn management_bind(mut self, address: SocketAddr) -> Self {
        self.management = Some(address);
        self
    }

    /// Arms a fault from the start.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Keeps keys, identities and objects in this directory, which is made if it
    /// is not there. Every change that a call acknowledges is synced to it first,
    /// and the next server that is given the directory goes on with it: also with
    /// the same TLS authority, unless one is given, and the same simulated root of
    /// attestation. Without, everything is in memory and goes with the server.
    ///
    /// The directory holds key material and credentials in clear. Faults,
    /// logs and the clock's setting are not kept; of a key's last use a killed
    /// server loses the last second.
    #[cfg(feature = "durable")]
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Plants what a seed file (TOML) describes; see [`super::seed`]. With a data
    /// directory a file that was planted completely is not looked at again; of
    /// another one, what is there already is left as it is.
    #[must_use]
    pub fn seed_file(mut self, toml: impl Into<String>) -> Self {
        self.seed_file = Some(toml.into());
        self
    }

    /// Appends the event of every KMS call to a file, one line of JSON each, in
    /// CloudTrail's shape.
    #[must_use]
    pub fn audit_log(mut self, file: impl Into<PathBuf>) -> Self {
        self.audit_log = Some(file.into());
        self
    }

    /// Starts the server; it listens when this returns.
    ///
    /// # Errors
    /// [`StartError`] if the address is taken, or threads or TLS cannot be had.
    pub async fn start(self) -> Result<KmsMock, StartError> {
        self.start_blocking()
    }

    /// [`Builder::start`] for code that is not async. Nothing in it waits but for
    /// the disk, with a data directory.
    ///
    /// # Errors
    /// [`StartError`] if the address is taken, or threads or TLS cannot be had.
    pub fn start_blocking(mut self) -> Result<KmsMock, StartError> {
        let mut world = self.data_dir.as_deref().map(load::open).transpose()?;
        let world_seed = match &mut world {
            Some(world) => {
                let agreed = world.agree(self.seed.as_ref())?;
                self.seed = agreed.is_chosen.then(|| agreed.world.clone());
                agreed.world
            }
            None => self.seed.clone().unwrap_or_else(WorldSeed::random),
        };
        let attestation_roots = self.trusted_roots(&world_seed)?;
        let xks = self.xks_settings()?;
        let authority = match (self.tls_authority.take(), &mut world) {
            (Some(given), _) => Some(given),
            (None, Some(world)) => Some(Arc::new(kept_authority(world)?)),
            (None, None) => None,
        };
        let tls = match &authority {
            Some(authority) => Endpoint::under(authority, &self.region)?,
            None => Endpoint::fresh(&self.region),
        };
        let bind_error = |source| StartError::Bind {
            address: self.bind,
            source,
        };
        let socket = bound(self.bind).map_err(bind_error)?;
        let management = match self.management {
            None => None,
            Some(address) if !address.ip().is_loopback() => {
                return Err(StartError::ManagementNotLocal(address));
            }
            Some(address) => {
                let bind_error = |source| StartError::Bind { address, source };
                let listener = std::net::TcpListener::bind(address).map_err(bind_error)?;
                listener.set_nonblocking(true).map_err(bind_error)?;
                Some(listener)
            }
        };

        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let start = world.as_ref().map_or(1, |world| world.start);
        let planted = world.as_mut().and_then(|world| world.seed_file.take());
        let (journal, snapshot) = match world.map(World::begin).transpose()? {
            Some((journal, snapshot, rows)) => (journal, Some((snapshot, rows))),
            None => (Journal::memory(), None),
        };
        let kept = CloseOnDrop(journal.clone());
        let settings = Settings {
            region: self.region.clone(),
            clock: Arc::clone(&clock),
            seed: self.seed.clone(),
            attestation_roots: Arc::new(attestation_roots),
            freshness_window: self.freshness_window,
            rsa_2048_only: false,
            xks,
        };
        let iam = Iam::with_journal(Arc::clone(&clock), self.seed.as_ref(), &journal, start);
        let iam = Arc::new(iam);
        let directory = Arc::<Iam>::clone(&iam);
        let kms = Arc::new(Kms::with_journal(settings, &journal, start, directory));
        let s3_bytes_max = self.limits.s3_store_bytes_max;
        let s3 =
            ObjectStore::with_journal(Arc::clone(&clock), &self.region, s3_bytes_max, &journal);
        if let Some(snapshot) = snapshot {
            load::load(snapshot, &kms, &iam, &s3, &journal)?;
        }
        let edge = Arc::new(Edge {
            kms: match self.answering {
                Some(answer) => KmsCalls::Function(answer),
                None => KmsCalls::Kms(Arc::clone(&kms)),
            },
            iam,
            s3,
            clock,
            region: self.region,
            account: self.account,
            auth: self.auth,
            hosts: self.hosts,
            limits: self.limits,
            tls,
            received: Ring::new(self.received_max),
            faults: Faults::new(&self.seed.clone().unwrap_or_else(WorldSeed::random)),
        });
        for fault in self.faults {
            edge.faults.add(fault);
        }
        if let Some(text) = &self.seed_file {
            let file = SeedFile::parse(text)?;
            if !journal.is_kept() {
                file.plant(&kms, &edge, Present::IsAMistake)?;
            } else if planted.as_deref() != Some(file.digest().as_str()) {
                journal.defer(); // nobody can call yet: one wait for all of it
                file.plant(&kms, &edge, Present::IsLeft)?;
                note_seed_file(&journal, &file.digest()).map_err(DataDirError::from)?;
                journal.sync().map_err(DataDirError::from)?;
            }
        }
        if let Some(file) = self.audit_log {
            let opened = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&file);
            kms.audit()
                .write_to(opened.map_err(|source| StartError::AuditLog { file, source })?);
        }

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.workers)
            .thread_name("kms-mock")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let listener = {
            let _within = runtime.enter();
            socket.listen(BACKLOG).map_err(bind_error)?
        };
        let address = listener.local_addr().map_err(bind_error)?;
        let (stop, stopping) = watch::channel(false);
        let management = match management {
            None => None,
            Some(listener) => {
                let address = listener.local_addr().map_err(bind_error)?;
                let _within = runtime.enter();
                let listener = TcpListener::from_std(listener).map_err(bind_error)?;
                let port = Arc::new(ManagementPort {
                    kms: Arc::clone(&kms),
                    edge: Arc::clone(&edge),
                    clock: self.clock.clone(),
                });
                runtime.spawn(management::serve(port, listener, stopping.clone()));
                Some(address)
            }
        };
        let serving = runtime.spawn(serve(Arc::clone(&edge), listener, stopping));
        // The first certificates and the first random bytes take a while; by the
        // time they are asked for they are there.
        runtime.spawn_blocking({
            let edge = Arc::clone(&edge);
            move || edge.tls.acceptor().err().map(ToString::to_string)
        });
        Ok(KmsMock {
            address,
            edge,
            kms,
            clock: self.clock,
            management,
            expectations: Mutex::default(),
            stop,
            serving: Some(serving),
            runtime: Some(runtime),
            _kept: kept,
        })
    }
}

/// A socket at `address` that does not listen yet.
fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    #[cfg(unix)] // elsewhere it would let two servers share a port
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
