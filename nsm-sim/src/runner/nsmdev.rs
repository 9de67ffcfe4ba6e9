//! The driver in front of the NSM: what `ioctl` on `/dev/nsm` does with a
//! request before and after the device sees it.
//!
//! Models `drivers/misc/nsm.c` of current kernels (NSM §1.1 and the "KDRV"
//! column of §1.2): a 4096-byte request limit checked before any pointer is
//! touched, `resp_len` rewritten to the bytes returned, silent truncation, and
//! the order in which bad pointers are found out, the response's last. Does not
//! model the out-of-tree driver of images built before mid-2024, nor the 120 s
//! timeout: the device always answers.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{
    mem::{self, MemoryFault},
    notif::{Notifier, Sent, Trap},
};

/// `NSM_REQUEST_MAX_SIZE`.
pub(crate) const REQUEST_BYTES_MAX: u64 = 4096;
/// `NSM_RESPONSE_MAX_SIZE`.
pub(crate) const RESPONSE_BYTES_MAX: usize = 12288;
/// `sizeof(struct nsm_raw)`.
pub(crate) const RAW_BYTES: usize = 32;

/// What became of a prepared reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The caller's system call returned with it: changes take effect.
    Delivered,
    /// The caller was interrupted or died, and may repeat the request: nothing
    /// has happened.
    Lost,
}

/// A Nitro Secure Module, as the runner drives it: one request at a time, each
/// prepared, delivered, then settled.
pub trait NsmDevice: Send {
    /// The CBOR reply to a request of at most 4096 bytes, itself at most 12288.
    /// Changes to PCRs are held back until [`Self::settle`].
    fn prepare(&mut self, request: &[u8]) -> Vec<u8>;

    /// Ends the request prepared last.
    fn settle(&mut self, delivery: Delivery);

    /// Whether a request is answered in microseconds. Such a request is answered
    /// on the spot; the caller of one that is not waits for a thread of the
    /// device's own, so that nobody else has to. In doubt: no.
    fn is_quick(&self, _request: &[u8]) -> bool {
        false
    }
}

/// `struct nsm_raw`, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawRequest {
    request_at: u64,
    request_bytes: usize,
    response_at: u64,
    response_room: u64,
}

impl RawRequest {
    /// Reads the 32 bytes; `EMSGSIZE` comes before any pointer is looked at.
    pub(crate) fn parse(raw: &[u8; RAW_BYTES]) -> Result<Self, i32> {
        let mut words = raw
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word));
        let mut next = || words.next().unwrap_or(0);
        let (request_at, request_bytes, response_at, response_room) =
            (next(), next(), next(), next());
        if request_bytes > REQUEST_BYTES_MAX {
            return Err(libc::EMSGSIZE);
        }
        let request_bytes = usize::try_from(request_bytes).map_err(|_| libc::EMSGSIZE)?;
        Ok(Self {
            request_at,
            request_bytes,
            response_at,
            response_room,
        })
    }

    /// The part of `reply` that the caller has room for.
    fn truncated<'a>(&self, reply: &'a [u8]) -> &'a [u8] {
        let room = self.response_room.min(RESPONSE_BYTES_MAX as u64) as usize;
        reply.get(..room).unwrap_or(reply)
    }

    /// The struct as it goes back, `copied` bytes having been returned.
    fn written_back(&self, copied: usize) -> [u8; RAW_BYTES] {
        let words = [
            self.request_at,
            self.request_bytes as u64,
            self.response_at,
            copied as u64,
        ];
        let mut raw = [0; RAW_BYTES];
        for (bytes, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        raw
    }
}

/// A request on its way to the device.
#[derive(Debug)]
pub(crate) struct Pending {
    trap: Trap,
    raw_at: u64,
    raw: RawRequest,
    request: Vec<u8>,
}

impl Pending {
    /// Copies a request in, as the driver does.
    ///
    /// # Errors
    /// The errno of the caller, or the fault that keeps us from answering.
    pub(crate) fn copy_in(trap: Trap) -> Result<Self, RequestError> {
        let raw_at = trap.word(2);
        let mut raw = [0; RAW_BYTES];
        mem::read(trap.tid, raw_at, &mut raw)?;
        let raw = RawRequest::parse(&raw).map_err(RequestError::Errno)?;
        let mut request = vec![0; raw.request_bytes];
        mem::read(trap.tid, raw.request_at, &mut request)?;
        Ok(Self {
            trap,
            raw_at,
            raw,
            request,
        })
    }

    /// Copies the reply out and answers the call; says beside it how many bytes
    /// `resp_len` now shows, if it was written.
    fn copy_out(&self, notifier: &Notifier, reply: &[u8]) -> (Sent, Option<u64>) {
        let id = self.trap.id;
        let reply = self.raw.truncated(reply);
        if !notifier.still_waits(id) {
            return (Sent::Gone, None);
        }
        let raw = self.raw.written_back(reply.len());
        let parts = [(self.raw.response_at, reply), (self.raw_at, &raw[..])];
        match mem::write_both(self.trap.tid, parts) {
            Ok(()) => (notifier.value(id, 0), Some(reply.len() as u64)),
            Err(MemoryFault::Gone) => (Sent::Gone, None),
            // The device has executed the command all the same.
            Err(MemoryFault::BadAddress | MemoryFault::Forbidden) => {
                (notifier.errno(id, libc::EFAULT), None)
            }
        }
    }
}

/// A reply that may have found no caller, to recognise the call when the kernel
/// repeats it after a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unheard {
    raw_at: u64,
    raw: RawRequest,
    request: Vec<u8>,
    /// What `resp_len` was changed to, if it was.
    written: Option<u64>,
    /// The reply, if the device was told that it arrived.
    settled: Option<Vec<u8>>,
}

impl Unheard {
    /// Whether `pending` is the same call again. A program that asks the same
    /// anew sets `resp_len` anew; a repeated call shows what we left there.
    fn is_repeated_by(&self, pending: &Pending) -> bool {
        let room = pending.raw.response_room;
        let untouched = room == self.raw.response_room;
        let same_place = RawRequest {
            response_room: room,
            ..self.raw
        } == pending.raw;
        pending.raw_at == self.raw_at
            && same_place
            && pending.request == self.request
            && match self.settled {
                Some(_) => self.written == Some(room) && !untouched,
                None => untouched || self.written == Some(room),
            }
    }
}

/// Why a request does not reach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    Errno(i32),
    Memory(MemoryFault),
}

impl From<MemoryFault> for RequestError {
    fn from(fault: MemoryFault) -> Self {
        Self::Memory(fault)
    }
}

/// More interrupted callers than this are not remembered.
const UNHEARD_MAX: usize = 256;

/// A device and the callers that did not hear it.
struct Served {
    device: Box<dyn NsmDevice>,
    unheard: HashMap<i32, Unheard>,
}

impl Served {
    fn answer(&mut self, mut pending: Pending, notifier: &Notifier) {
        let tid = pending.trap.tid;
        let before = self
            .unheard
            .remove(&tid)
            .filter(|before| before.is_repeated_by(&pending));
        let (mut settled, mut left_before) = (None, None);
        if let Some(before) = before {
            pending.raw.response_room = before.raw.response_room;
            (settled, left_before) = (before.settled, before.written);
        }
        // A request that the device has already executed is not executed again.
        let executed_before = settled.is_some();
        let reply = settled.unwrap_or_else(|| self.device.prepare(&pending.request));
        let (sent, written) = pending.copy_out(notifier, &reply);
        if !executed_before {
            self.device.settle(match sent {
                Sent::Delivered | Sent::Unsure => Delivery::Delivered,
                Sent::Gone => Delivery::Lost,
            });
        }
        if sent != Sent::Delivered && self.unheard.len() < UNHEARD_MAX {
            let executed = executed_before || sent == Sent::Unsure;
            let entry = Unheard {
                raw_at: pending.raw_at,
                raw: pending.raw,
                request: pending.request,
                written: written.or(left_before),
                settled: executed.then_some(reply),
            };
            self.unheard.insert(tid, entry);
        }
    }
}

/// The device's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceGone;

/// Takes requests to the device, one at a time and in the order they came, as
/// the driver's mutex does. A quick one is answered at once on the caller's
/// thread, which spares it two changes of thread; a slow one, and all behind it,
/// on the device's own, so that a signature holds up nobody's `open`.
pub(crate) struct RequestQueue {
    served: Arc<Mutex<Served>>,
    /// Requests handed to the device's thread and not answered yet.
    waiting: Arc<AtomicUsize>,
    /// Unbounded, but each entry is a thread held in its trap.
    queue: mpsc::Sender<Pending>,
    notifier: Arc<Notifier>,
}

impl std::fmt::Debug for RequestQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestQueue")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl RequestQueue {
    /// Starts the device's thread by `start`.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(crate) fn open(
        device: Box<dyn NsmDevice>,
        notifier: &Arc<Notifier>,
        start: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel::<Pending>();
        let opened = Self {
            served: Arc::new(Mutex::new(Served {
                device,
                unheard: HashMap::new(),
            })),
            waiting: Arc::default(),
            queue,
            notifier: Arc::clone(notifier),
        };
        let (served, waiting) = (Arc::clone(&opened.served), Arc::clone(&opened.waiting));
        let notifier = Arc::clone(notifier);
        start(Box::new(move || {
            for pending in requests {
                let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
                served.answer(pending, &notifier);
                waiting.fetch_sub(1, Ordering::Release);
            }
        }))?;
        Ok(opened)
    }

    /// Sees to it that the request is answered. One thread may call this.
    ///
    /// # Errors
    /// If the device's thread is gone.
    pub(crate) fn ask(&self, pending: Pending) -> Result<(), DeviceGone> {
        // With nobody waiting the device's thread holds no lock.
        if self.waiting.load(Ordering::Acquire) == 0
            && let Ok(mut served) = self.served.try_lock()
            && served.device.is_quick(&pending.request)
        {
            served.answer(pending, &self.notifier);
            return Ok(());
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.send(pending).map_err(|_| DeviceGone)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(words: [u64; 4]) -> [u8; RAW_BYTES] {
        let mut raw = [0; RAW_BYTES];
        for (bytes, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        raw
    }

    #[test]
    fn a_request_of_4096_bytes_passes_and_one_more_is_emsgsize() {
        assert!(RawRequest::parse(&raw([1, 4096, 2, 3])).is_ok());
        assert_eq!(
            RawRequest::parse(&raw([1, 4097, 2, 3])),
            Err(libc::EMSGSIZE)
        );
        assert_eq!(
            RawRequest::parse(&raw([0, u64::MAX, 0, 0])),
            Err(libc::EMSGSIZE)
        );
    }

    #[test]
    fn a_long_reply_is_cut_silently_and_resp_len_says_how_much_came() {
        let request = RawRequest::parse(&raw([1, 2, 3, 4])).unwrap();
        assert_eq!(request.truncated(b"abcdef"), b"abcd");
        assert_eq!(request.truncated(b"ab"), b"ab");
        assert_eq!(request.written_back(2), raw([1, 2, 3, 2]));
        let nothing = RawRequest::parse(&raw([1, 2, 0, 0])).unwrap();
        assert_eq!(nothing.truncated(b"ab"), b"");
        let plenty = RawRequest::parse(&raw([1, 2, 3, u64::MAX])).unwrap();
        assert_eq!(plenty.truncated(&[7; 20_000]).len(), 12288);
    }

    #[test]
    fn a_repeated_call_is_known_by_what_was_left_in_resp_len() {
        let pending = |room: u64, request: &[u8]| Pending {
            trap: Trap {
                id: 1,
                tid: 7,
                number: 16,
                args: [0; 6],
            },
            raw_at: 100,
            raw: RawRequest::parse(&raw([1, 6, 3, room])).unwrap(),
            request: request.to_vec(),
        };
        let first = pending(12288, b"extend");
        let unheard = |settled: Option<Vec<u8>>| Unheard {
            raw_at: first.raw_at,
            raw: first.raw,
            request: first.request.clone(),
            written: Some(60),
            settled,
        };
        let executed = unheard(Some(b"reply".to_vec()));
        assert!(executed.is_repeated_by(&pending(60, b"extend")));
        assert!(
            !executed.is_repeated_by(&pending(12288, b"extend")),
            "asked anew"
        );
        assert!(!executed.is_repeated_by(&pending(60, b"others")));
        let lost = unheard(None);
        assert!(lost.is_repeated_by(&pending(60, b"extend")));
        assert!(lost.is_repeated_by(&pending(12288, b"extend")));
        assert!(!lost.is_repeated_by(&pending(61, b"extend")));
    }

    proptest! {
        #[test]
        fn a_struct_goes_back_unchanged_but_for_resp_len(words: [u64; 4], copied in 0_usize..12289) {
            if let Ok(request) = RawRequest::parse(&raw(words)) {
                let [at, bytes, to, _] = words;
                prop_assert_eq!(request.written_back(copied), raw([at, bytes, to, copied as u64]));
            }
        }
    }
}
