//! Calls of KMS, counted: from the bytes of a request to the bytes of its answer,
//! through everything that a connection passes but the socket. Client and server
//! share a thread and a stream in memory.
//!
//! Each call stands beside the bare server of [`crate::load::floor`] that is sent
//! the same bytes in the same way, so that what the stream, the scheduler and the
//! client cost is in both figures. Nothing is switched off in `kms-mock`, but one
//! thing is not in the count: the audit log forgets a call after ten thousand
//! others, and so many are not made.

use std::{future::Future, hint::black_box};

use kms_mock::{Auth, Builder, KmsMock};
use nsm_sim::{attestation::pki::Pki, seed::WorldSeed};
use tokio::{
    io::{DuplexStream, duplex},
    runtime::Runtime,
};

use crate::{
    load::{
        LoadError,
        calls::Calls,
        client::Connection,
        floor::{self, Work},
        signed,
    },
    operation::Operation,
};

/// Calls before the ones that are counted: the log of received requests is full
/// then, as it always is in a server that runs for a while.
const WARM_RUNS: usize = 1100;

/// Room for any request or answer: nobody waits for the other in the middle of one.
const STREAM_BYTES: usize = 64 * 1024;

/// Each call, and the bare server beside it.
pub const CALLS: &[Operation] = &[
    Operation {
        name: "kms-encrypt",
        what: "Encrypt of 32 bytes, request bytes to answer bytes",
        counted_runs: 200,
        prepare: || kms(|calls| calls.encrypt),
    },
    Operation {
        name: "floor-encrypt",
        what: "the same request, a bare hyper server",
        counted_runs: 200,
        prepare: || floor(Work::None, |calls| calls.encrypt),
    },
    Operation {
        name: "kms-decrypt",
        what: "Decrypt of that, request bytes to answer bytes",
        counted_runs: 200,
        prepare: || kms(|calls| calls.decrypt),
    },
    Operation {
        name: "floor-decrypt",
        what: "the same request, a bare hyper server",
        counted_runs: 200,
        prepare: || floor(Work::None, |calls| calls.decrypt),
    },
    Operation {
        name: "kms-generate-data-key",
        what: "GenerateDataKey, AES-256, request bytes to answer bytes",
        counted_runs: 200,
        prepare: || kms(|calls| calls.generate_data_key),
    },
    Operation {
        name: "floor-generate-data-key",
        what: "the same request, a bare hyper server",
        counted_runs: 200,
        prepare: || floor(Work::None, |calls| calls.generate_data_key),
    },
    Operation {
        name: "kms-encrypt-signed",
        what: "Encrypt, its signature verified, allowed by a grant alone",
        counted_runs: 200,
        prepare: signed_by_a_grantee,
    },
    Operation {
        name: "kms-sign",
        what: "Sign of a digest, P-256, request bytes to answer bytes",
        counted_runs: 100,
        prepare: || kms(|calls| calls.sign),
    },
    Operation {
        name: "floor-sign",
        what: "the same request, a bare hyper server that signs",
        counted_runs: 100,
        prepare: || floor(Work::Signing, |calls| calls.sign),
    },
    Operation {
        name: "kms-attested-decrypt",
        what: "Decrypt with a Recipient, request bytes to answer bytes",
        counted_runs: 20,
        prepare: || kms(|calls| calls.attested_decrypt),
    },
    Operation {
        name: "floor-attested-decrypt",
        what: "the same request, a bare hyper server with its cryptography",
        counted_runs: 20,
        prepare: || floor(Work::Attested, |calls| calls.attested_decrypt),
    },
];

/// A connection in memory, with both its ends on this thread.
struct Exchange {
    client: Connection<DuplexStream>,
    runtime: Runtime,
    /// Who answers, when it is not the bare server.
    mock: Option<KmsMock>,
}

fn seed() -> WorldSeed {
    WorldSeed::from_u64(1)
}

/// A server with [`Calls`] that it answers.
fn prepared() -> (Exchange, Calls) {
    let pki = Pki::new(&seed(), crate::REGION);
    let mut exchange = Exchange::of(KmsMock::builder().attestation_root_pem(&pki.root_pem()));
    let calls = exchange.make(async |client| Calls::prepare(client, &seed()).await);
    (exchange, calls)
}

/// A call asked of `kms-mock`.
fn kms(choose: fn(Calls) -> Vec<u8>) -> Box<dyn FnMut()> {
    let (mut exchange, calls) = prepared();
    exchange.warm_up(&calls.encrypt); // any call fills the logs; this is a quick one
    exchange.repeating(choose(calls))
}

/// The same call asked of a bare server.
fn floor(work: Work, choose: fn(Calls) -> Vec<u8>) -> Box<dyn FnMut()> {
    let (_, calls) = prepared();
    Exchange::open(|stream| floor::serve_stream(work, stream)).repeating(choose(calls))
}

fn signed_by_a_grantee() -> Box<dyn FnMut()> {
    let builder = KmsMock::builder().auth(Auth::Strict);
    let mut exchange = Exchange::of(builder.seed_file(signed::seed()));
    let request = exchange.make(async |client| signed::encrypt(client).await);
    exchange.warm_up(&request);
    exchange.repeating(request)
}

impl Exchange {
    fn of(builder: Builder) -> Self {
        let mock = builder.start_blocking().expect("the server starts");
        let mut exchange = Self::open(|stream| mock.serve_stream(stream));
        exchange.mock = Some(mock);
        exchange
    }

    fn open<F>(serve: impl FnOnce(DuplexStream) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime of this thread");
        let (near, far) = duplex(STREAM_BYTES);
        runtime.spawn(serve(far));
        Self {
            client: Connection::over(near),
            runtime,
            mock: None,
        }
    }

    /// What takes calls to make.
    fn make<T>(
        &mut self,
        make: impl AsyncFnOnce(&mut Connection<DuplexStream>) -> Result<T, LoadError>,
    ) -> T {
        let made = self.runtime.block_on(make(&mut self.client));
        made.unwrap_or_else(|error| panic!("{error}"))
    }

    fn warm_up(&mut self, request: &[u8]) {
        for _ in 0..WARM_RUNS {
            self.ask(request);
        }
    }

    fn ask(&mut self, request: &[u8]) {
        let answer = self.runtime.block_on(self.client.ask(request));
        black_box(answer.unwrap_or_else(|error| panic!("{error}")));
    }

    /// The same call at every run.
    fn repeating(mut self, request: Vec<u8>) -> Box<dyn FnMut()> {
        Box::new(move || {
            let _held_whole = &self.mock;
            self.ask(black_box(&request));
        })
    }
}
