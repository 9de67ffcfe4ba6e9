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

/// Bytes hashed for one register before the same bytes are hashed for the next,
/// so that they are still in the processor's cache.
const STRIDE: usize = 64 << 10;

pub(crate) fn measure<'a>(
    sections: impl Iterator<Item = (SectionKind, &'a [u8])>,
    signing_certificate_der: Option<&[u8]>,
) -> Measurements {
    // PCR0 and PCR1 start with the same bytes in every image that has its
    // application last, as all tools write it: they share one hash until the
    // first byte that only one of them covers.
    let mut image = Context::new(&SHA384);
    let mut bootstrap: Option<Context> = None;
    let mut application = Context::new(&SHA384);
    let mut ramdisks = 0_usize;
    for (kind, data) in sections {
        let is_application = match kind {
            SectionKind::Kernel | SectionKind::Cmdline => false,
            SectionKind::Ramdisk => {
                ramdisks += 1;
                ramdisks > 1
            }
            SectionKind::Signature | SectionKind::Metadata => continue,
        };
        if is_application && bootstrap.is_none() {
            bootstrap = Some(image.clone());
        }
        let mut beside = if is_application {
            Some(&mut application)
        } else {
            bootstrap.as_mut()
        };
        for stride in data.chunks(STRIDE) {
            image.update(stride);
            if let Some(beside) = &mut beside {
                beside.update(stride);
            }
        }
    }
    let bootstrap = bootstrap.unwrap_or_else(|| image.clone());
    Measurements {
        pcr0: register(image),
        pcr1: register(bootstrap),
        pcr2: register(application),
        pcr8: signing_certificate_der.map(|der| {
            let mut content = Context::new(&SHA384);
            content.update(der);
            register(content)
        }),
    }
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
}
