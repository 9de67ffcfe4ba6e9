//! RLE Lossless: a header of fifteen offsets, then one PackBits segment for each
//! byte of a sample, most significant first.
//!
//! Source of truth: PS3.5 annex G. Decoded here and not by dicom-rs, whose
//! decoder panics when a segment is short; the two are compared on the corpus.
//! Not modelled: one frame in several fragments (§G.2 forbids it).

use super::DicomError;

/// Size of the header: a count and fifteen offsets.
const HEADER: usize = 64;

/// Decodes one frame to the layout of native pixel data, little endian,
/// sample by sample: `pixels` × `samples` × `bytes_per_sample` bytes.
pub(super) fn decode(
    fragment: &[u8],
    pixels: usize,
    samples: u16,
    bytes_per_sample: u16,
) -> Result<Vec<u8>, DicomError> {
    let count = usize::from(samples) * usize::from(bytes_per_sample);
    let (words, _) = fragment
        .get(..HEADER)
        .ok_or(DicomError::Codestream)?
        .as_chunks::<4>();
    let mut header = words.iter().map(|word| u32::from_le_bytes(*word) as usize);
    if header.next() != Some(count) {
        return Err(DicomError::CodestreamDiffers);
    }
    let offsets: Vec<usize> = header.take(count).collect();
    // PackBits makes at most 128 bytes out of two: what cannot fill the image is
    // refused before the image is allocated.
    if fragment.len().saturating_mul(64) < pixels.saturating_mul(count) {
        return Err(DicomError::Codestream);
    }
    let mut frame = vec![0; pixels * count];
    for (segment, &start) in offsets.iter().enumerate() {
        let end = offsets.get(segment + 1).copied().unwrap_or(fragment.len());
        let packed = fragment.get(start..end).ok_or(DicomError::Codestream)?;
        // Segments are big endian within a sample.
        let (sample, byte) = (
            segment / usize::from(bytes_per_sample),
            segment % usize::from(bytes_per_sample),
        );
        let at = (sample + 1) * usize::from(bytes_per_sample) - 1 - byte;
        unpack(packed, frame.iter_mut().skip(at).step_by(count))?;
    }
    Ok(frame)
}

/// Fills `out` from PackBits; what is left over in `packed` is padding.
fn unpack<'a>(
    packed: &[u8],
    mut out: impl ExactSizeIterator<Item = &'a mut u8>,
) -> Result<(), DicomError> {
    let mut packed = packed.iter();
    while out.len() > 0 {
        let control = packed.next().ok_or(DicomError::Codestream)?.cast_signed();
        match control {
            0.. => {
                let run = usize::from(control.unsigned_abs()) + 1;
                for slot in out.by_ref().take(run) {
                    *slot = *packed.next().ok_or(DicomError::Codestream)?;
                }
            }
            // No operation.
            -128 => {}
            _ => {
                let run = usize::from(control.unsigned_abs()) + 1;
                let value = *packed.next().ok_or(DicomError::Codestream)?;
                for slot in out.by_ref().take(run) {
                    *slot = value;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(segments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = (segments.len() as u32).to_le_bytes().to_vec();
        let mut offset = HEADER;
        for segment in segments {
            bytes.extend_from_slice(&(offset as u32).to_le_bytes());
            offset += segment.len();
        }
        bytes.resize(HEADER, 0);
        bytes.extend(segments.concat());
        bytes
    }

    #[test]
    fn literal_and_repeated_runs_fill_the_pixels() {
        let bytes = fragment(&[&[2, 7, 8, 9, 0x80, 0xFE, 5]]);
        assert_eq!(decode(&bytes, 6, 1, 1).unwrap(), [7, 8, 9, 5, 5, 5]);
    }

    #[test]
    fn the_first_segment_is_the_most_significant_byte() {
        let bytes = fragment(&[&[1, 0x12, 0x56], &[1, 0x34, 0x78]]);
        assert_eq!(decode(&bytes, 2, 1, 2).unwrap(), [0x34, 0x12, 0x78, 0x56]);
    }

    #[test]
    fn refuses_segments_that_end_early_or_lie_outside() {
        assert!(decode(&fragment(&[&[1, 7]]), 2, 1, 1).is_err());
        assert!(decode(&fragment(&[&[0xFF]]), 2, 1, 1).is_err());
        assert!(decode(&fragment(&[&[0, 7]]), 2, 1, 1).is_err());
        let mut outside = fragment(&[&[1, 7, 7]]);
        outside[4] = 200;
        assert!(decode(&outside, 2, 1, 1).is_err());
    }

    #[test]
    fn refuses_another_number_of_segments_than_the_image_has_bytes() {
        let bytes = fragment(&[&[1, 7, 7]]);
        assert!(matches!(
            decode(&bytes, 2, 1, 2),
            Err(DicomError::CodestreamDiffers)
        ));
    }

    #[test]
    fn refuses_a_fragment_too_small_for_its_image_before_allocating() {
        let bytes = fragment(&[&[1, 7, 7]]);
        assert!(matches!(
            decode(&bytes, 1 << 40, 1, 1),
            Err(DicomError::Codestream)
        ));
    }
}
