//! The NSM inside a test's own process, with AWS's request and reply types.
//!
//! Models: the same core as every other transport – a request is encoded as
//! AWS's crate encodes it, handled by [`NitroSecureModule`], and its reply
//! decoded – so that size limits and error names are the device's. Does not
//! model a `/dev/nsm` (the runner does) nor two enclaves on one instance: build
//! two.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_nitro_enclaves_nsm_api::api::{ErrorCode, Request, Response};

use super::{Measurements, NitroSecureModule, Profile};
use crate::{
    attestation::{pem, variance::Variance, verify::Verifier},
    clock::{Clock, SystemClock, UnixMillis},
    seed::WorldSeed,
};

/// An NSM to call in process. Shared between threads, it answers one request at
/// a time, as the driver's mutex has it.
///
/// ```
/// use aws_nitro_enclaves_nsm_api::api::{Request, Response};
/// use nsm_sim::device::Nsm;
///
/// let nsm = Nsm::builder().build();
/// let Response::Attestation { document } =
///     nsm.request(Request::Attestation { user_data: None, nonce: None, public_key: None })
/// else {
///     panic!("an attestation request is answered with a document");
/// };
/// let document = nsm.verifier().verify_at_own_time(&document)?;
/// assert_eq!(document.module_id, nsm.module_id());
/// # Ok::<(), nsm_sim::attestation::verify::VerifyError>(())
/// ```
pub struct Nsm {
    module: Mutex<NitroSecureModule>,
    clock: Arc<dyn Clock>,
    module_id: String,
    root_der: Vec<u8>,
    verifier: Verifier,
}

impl Nsm {
    /// Starts from an unsigned production enclave without a role, in a fresh
    /// world on the machine's clock.
    #[must_use]
    pub fn builder() -> NsmBuilder {
        NsmBuilder::default()
    }

    /// Answers one request.
    pub fn request(&self, request: Request) -> Response {
        let mut bytes = Vec::new();
        if ciborium::into_writer(&request, &mut bytes).is_err() {
            return Response::Error(ErrorCode::InternalError);
        }
        // A reply that does not decode is what AWS's driver calls an internal error.
        ciborium::from_reader(self.request_bytes(&bytes).as_slice())
            .unwrap_or(Response::Error(ErrorCode::InternalError))
    }

    /// Answers one request in the wire's CBOR.
    pub fn request_bytes(&self, request: &[u8]) -> Vec<u8> {
        let now = self.clock.now();
        // A request leaves the module whole even if it panics midway: replies
        // are computed before anything changes.
        self.module
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .handle(now, request)
    }

    /// The name this NSM reports and signs into documents.
    #[must_use]
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    /// The simulated root, DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The simulated root, PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem::encode(&self.root_der)
    }

    /// A verifier that trusts this NSM's simulated root and no other.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }
}

impl fmt::Debug for Nsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nsm")
            .field("module_id", &self.module_id)
            .finish_non_exhaustive()
    }
}

/// What [`Nsm::builder`] gives.
#[derive(Clone, Debug)]
pub struct NsmBuilder {
    measurements: Measurements,
    role_arn: Option<String>,
    instance_id: String,
    region: String,
    debug: bool,
    created: Option<UnixMillis>,
    enclave_nonce: u16,
    seed: Option<WorldSeed>,
    clock: Arc<dyn Clock>,
    variance: Variance,
}

impl Default for NsmBuilder {
    fn default() -> Self {
        Self {
            measurements: Measurements::of_one_part(b"in-process enclave"),
            role_arn: None,
            instance_id: "i-0123456789abcdef0".to_owned(),
            region: "us-east-1".to_owned(),
            debug: false,
            created: None,
            enclave_nonce: 0x0b0e,
            seed: None,
            clock: Arc::new(SystemClock),
            variance: Variance::default(),
        }
    }
}

impl NsmBuilder {
    /// PCR0, PCR1, PCR2 and PCR8.
    #[must_use]
    pub fn measurements(mut self, measurements: Measurements) -> Self {
        self.measurements = measurements;
        self
    }

    /// The parent instance's role, measured into PCR3.
    #[must_use]
    pub fn role_arn(mut self, arn: impl Into<String>) -> Self {
        self.role_arn = Some(arn.into());
        self
    }

    /// The parent instance, `i-` and 17 hex digits, measured into PCR4.
    #[must_use]
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = instance_id.into();
        self
    }

    /// The AWS Region named in the chain's subjects.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Debug mode: PCR0, PCR1 and PCR2 are zero.
    #[must_use]
    pub const fn debug(mut self, debug: bool) -> Self {
        self.debug = debug;
        self
    }

    /// When the enclave was created; the clock's time at [`build`](Self::build)
    /// otherwise.
    #[must_use]
    pub const fn created(mut self, created: UnixMillis) -> Self {
        self.created = Some(created);
        self
    }

    /// The last 16 bits of the module id, to tell enclaves of one instance and
    /// millisecond apart.
    #[must_use]
    pub const fn enclave_nonce(mut self, nonce: u16) -> Self {
        self.enclave_nonce = nonce;
        self
    }

    /// The world that root, keys and random bytes come from; a fresh one
    /// otherwise.
    #[must_use]
    pub fn seed(mut self, seed: WorldSeed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The clock; keep a clone of a [`SettableClock`](crate::clock::SettableClock)
    /// to let leaves expire within a test.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Which legal encodings documents take.
    #[must_use]
    pub const fn variance(mut self, variance: Variance) -> Self {
        self.variance = variance;
        self
    }

    /// Boots the NSM.
    #[must_use]
    pub fn build(self) -> Nsm {
        let profile = Profile {
            measurements: self.measurements,
            role_arn: self.role_arn,
            instance_id: self.instance_id,
            region: self.region,
            debug: self.debug,
            created: self.created.unwrap_or_else(|| self.clock.now()),
            enclave_nonce: self.enclave_nonce,
        };
        let seed = self.seed.unwrap_or_else(WorldSeed::random);
        let module = NitroSecureModule::new(profile, &seed, self.variance);
        Nsm {
            module_id: module.profile().module_id(),
            root_der: module.pki().root_der().to_vec(),
            verifier: module.pki().verifier(),
            module: Mutex::new(module),
            clock: self.clock,
        }
    }
}
