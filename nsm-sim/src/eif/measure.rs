//! PCR0, PCR1, PCR2 and PCR8 of an image.
//!
//! Models: T(x) = SHA384(0^48 ‖ SHA384(x)) over section data in the order of the
//! file (ground truth: NSM §3.12; QEMU measures the same). PCR0 covers kernel,
//! command line and all ramdisks, PCR1 kernel, command line and the first
//! ramdisk, PCR2 the other ramdisks, PCR8 the signing certificate's DER. Section
//! headers, metadata and signature are not measured.

use aws_lc_rs::digest::{Context, SHA384};

use super::SectionKind;
use crate::device::Measurements;

/// Below this many bytes of an image a second thread costs more than it saves.
const THREAD_BYTES_MIN: usize = 1 << 20;

pub(crate) fn measure<'a>(
    sections: impl Iterator<Item = (SectionKind, &'a [u8])>,
    signing_certificate_der: Option<&[u8]>,
) -> Measurements {
    let mut ramdisks = 0_usize;
    let measured: Vec<Part<'a>> = sections
        .filter_map(|(kind, data)| {
            let is_application = match kind {
                SectionKind::Kernel | SectionKind::Cmdline => false,
                SectionKind::Ramdisk => {
                    ramdisks += 1;
                    ramdisks > 1
                }
                SectionKind::Signature | SectionKind::Metadata => return None,
            };
            Some(Part {
                is_application,
                data,
            })
        })
        .collect();
    let bytes: usize = measured.iter().map(|part| part.data.len()).sum();
    // The application is nearly all of an image, and two registers cover it.
    let ((pcr0, pcr1), pcr2) = if bytes < THREAD_BYTES_MIN {
        (image(&measured), application(&measured))
    } else {
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| application(&measured));
            let image = image(&measured);
            (image, beside.join().expect("hashing does not panic"))
        })
    };
    Measurements {
        pcr0,
        pcr1,
        pcr2,
        pcr8: signing_certificate_der.map(|der| {
            let mut content = Context::new(&SHA384);
            content.update(der);
            register(content)
        }),
    }
}

/// A section that registers cover.
struct Part<'a> {
    is_application: bool,
    data: &'a [u8],
}

/// PCR0 and PCR1. They start with the same bytes in every image that has its
/// application last, as all tools write it: they share one hash until the first
/// byte that only one of them covers.
fn image(measured: &[Part<'_>]) -> ([u8; 48], [u8; 48]) {
    let mut image = Context::new(&SHA384);
    let mut bootstrap: Option<Context> = None;
    for part in measured {
        if part.is_application {
            bootstrap.get_or_insert_with(|| image.clone());
        } else if let Some(bootstrap) = &mut bootstrap {
            bootstrap.update(part.data);
        }
        image.update(part.data);
    }
    let bootstrap = bootstrap.unwrap_or_else(|| image.clone());
    (register(image), register(bootstrap))
}

/// PCR2.
fn application(measured: &[Part<'_>]) -> [u8; 48] {
    let mut application = Context::new(&SHA384);
    for part in measured.iter().filter(|part| part.is_application) {
        application.update(part.data);
    }
    register(application)
}

/// The value of a register that was extended once, from zero, by the digest of
/// `content`.
fn register(content: Context) -> [u8; 48] {
    let mut extend = Context::new(&SHA384);
    extend.update(&[0; 48]);
    extend.update(content.finish().as_ref());
    let mut value = [0; 48];
    value.copy_from_slice(extend.finish().as_ref());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use SectionKind::{Cmdline, Kernel, Metadata, Ramdisk};

    /// T(x), as plainly as it can be written.
    fn t(content: &[u8]) -> [u8; 48] {
        let mut context = Context::new(&SHA384);
        context.update(content);
        register(context)
    }

    #[test]
    fn an_empty_application_measures_to_the_known_value() {
        let expected = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c\
                        10edb30948c90ba67310f7b964fc500a";
        let got = measure([(Kernel, &b"k"[..])].into_iter(), None);
        assert_eq!(hex::encode(got.pcr2), expected);
        assert_eq!(got.pcr8, None);
    }

    #[test]
    fn registers_follow_the_order_of_the_file_even_when_the_application_comes_first() {
        let sections: [(SectionKind, &[u8]); 6] = [
            (Ramdisk, b"init"),
            (Ramdisk, b"app"),
            (Metadata, b"{}"),
            (Cmdline, b"cmdline"),
            (Kernel, b"kernel"),
            (Ramdisk, b"more"),
        ];
        let got = measure(sections.into_iter(), Some(b"der"));
        assert_eq!(got.pcr0, t(b"initappcmdlinekernelmore"));
        assert_eq!(got.pcr1, t(b"initcmdlinekernel"));
        assert_eq!(got.pcr2, t(b"appmore"));
        assert_eq!(got.pcr8, Some(t(b"der")));
    }

    #[test]
    fn an_image_that_two_threads_measure_has_the_same_registers() {
        let large: Vec<u8> = (0..THREAD_BYTES_MIN).map(|at| (at % 251) as u8).collect();
        let sections: [(SectionKind, &[u8]); 4] = [
            (Kernel, &large[1..]),
            (Ramdisk, b"init"),
            (Ramdisk, &large),
            (Ramdisk, b"more"),
        ];
        let got = measure(sections.into_iter(), None);
        let bootstrap = [&large[1..], b"init"].concat();
        let application = [&large[..], b"more"].concat();
        assert_eq!(got.pcr1, t(&bootstrap));
        assert_eq!(got.pcr2, t(&application));
        assert_eq!(got.pcr0, t(&[bootstrap, application].concat()));
    }
}
