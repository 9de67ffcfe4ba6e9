// A static Rust program: 8 threads ask /dev/nsm by ioctl, and a listener and a
// caller of AF_VSOCK in one process exchange a word. Prints "asked and answered".
use std::{
    ffi::{c_int, c_ulong, c_void},
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::{AsRawFd, FromRawFd},
    thread,
};

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const c_void, len: u32) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn connect(fd: c_int, address: *const c_void, len: u32) -> c_int;
    fn accept(fd: c_int, address: *mut c_void, len: *mut u32) -> c_int;
}

/// `struct nsm_raw`: request and reply, each an address and a length.
#[repr(C)]
struct Message([u64; 4]);

/// `struct sockaddr_vm`.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

fn address(cid: u32) -> Address {
    Address { family: 40, reserved: 0, port: 5000, cid, zero: [0; 4] }
}

fn checked(result: c_int) -> c_int {
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result
}

fn main() {
    let nsm = OpenOptions::new().read(true).write(true).open("/dev/nsm").unwrap();
    let nsm = nsm.as_raw_fd();
    let asking: Vec<_> = (0..8)
        .map(|thread| {
            thread::spawn(move || {
                for n in 0..100 {
                    let request = format!("{thread} {n}");
                    let mut reply = [0_u8; 64];
                    let mut message = Message([
                        request.as_ptr() as u64,
                        request.len() as u64,
                        reply.as_mut_ptr() as u64,
                        reply.len() as u64,
                    ]);
                    checked(unsafe { ioctl(nsm, 0xC020_0A00, &raw mut message) });
                    let expected = format!("re:{request}");
                    assert_eq!(message.0[3], expected.len() as u64);
                    assert_eq!(&reply[..expected.len()], expected.as_bytes());
                }
            })
        })
        .collect();
    asking.into_iter().for_each(|thread| thread.join().unwrap());

    let listener = checked(unsafe { socket(40, 1, 0) });
    let (any, own) = (address(u32::MAX), address(16));
    checked(unsafe { bind(listener, (&raw const any).cast(), 16) });
    checked(unsafe { listen(listener, 8) });
    let caller = thread::spawn(move || {
        let caller = checked(unsafe { socket(40, 1, 0) });
        checked(unsafe { connect(caller, (&raw const own).cast(), 16) });
        unsafe { File::from_raw_fd(caller) }.write_all(b"a word").unwrap();
    });
    let heard = checked(unsafe { accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) });
    let mut word = String::new();
    unsafe { File::from_raw_fd(heard) }.read_to_string(&mut word).unwrap();
    caller.join().unwrap();
    assert_eq!(word, "a word");
    println!("asked and answered");
}
