//! Writing images.
//!
//! Models the section order of the official builder: kernel, command line,
//! metadata, ramdisks, signature. The same inputs always give the same bytes: no
//! clock, no random padding, and a signature by RFC 6979.

use super::{
    Architecture, EifError, Header, SectionKind, Signature, SignatureError, layout, measure,
};

/// Memory an enclave gets by default, as in images of the official builder.
const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;
/// Virtual CPUs an enclave gets by default, as in images of the official builder.
const DEFAULT_CPUS: u64 = 2;

/// Puts an image together from borrowed parts.
#[derive(Clone)]
pub struct EifBuilder<'a> {
    header: Header,
    kernel: &'a [u8],
    cmdline: &'a str,
    metadata: Option<Vec<u8>>,
    ramdisks: Vec<&'a [u8]>,
    signer: Option<Signer<'a>>,
}

#[derive(Clone, Copy)]
struct Signer<'a> {
    certificate_pem: &'a str,
    key: &'a p384::ecdsa::SigningKey,
}

impl std::fmt::Debug for EifBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EifBuilder")
            .field("header", &self.header)
            .field("cmdline", &self.cmdline)
            .field("ramdisks", &self.ramdisks.len())
            .field("signed", &self.signer.is_some())
            .finish_non_exhaustive()
    }
}

impl<'a> EifBuilder<'a> {
    /// An image of this kernel and command line, version 4, for x86-64, with 1
    /// GiB of memory and two CPUs unless the enclave is started with others. It
    /// still needs a ramdisk.
    #[must_use]
    pub const fn new(kernel: &'a [u8], cmdline: &'a str) -> Self {
        Self {
            header: Header {
                version: 4,
                architecture: Architecture::X86_64,
                default_memory_bytes: DEFAULT_MEMORY_BYTES,
                default_cpus: DEFAULT_CPUS,
            },
            kernel,
            cmdline,
            metadata: None,
            ramdisks: Vec::new(),
            signer: None,
        }
    }

    /// Adds a ramdisk: the first boots, the others are the application.
    #[must_use]
    pub fn ramdisk(mut self, data: &'a [u8]) -> Self {
        self.ramdisks.push(data);
        self
    }

    /// Sets the metadata section to these bytes, as they are. They have to be
    /// JSON; see [`reproducible_metadata`] for the shape the official tools read.
    #[must_use]
    pub fn metadata(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.metadata = Some(json.into());
        self
    }

    /// What the kernel runs on.
    #[must_use]
    pub const fn architecture(mut self, architecture: Architecture) -> Self {
        self.header.architecture = architecture;
        self
    }

    /// Replaces the whole header.
    #[must_use]
    pub const fn header(mut self, header: Header) -> Self {
        self.header = header;
        self
    }

    /// Signs PCR0 with the key of this certificate. The signature is
    /// deterministic; PCR8 becomes the certificate's measurement.
    #[must_use]
    pub const fn sign(
        mut self,
        certificate_pem: &'a str,
        key: &'a p384::ecdsa::SigningKey,
    ) -> Self {
        self.signer = Some(Signer {
            certificate_pem,
            key,
        });
        self
    }

    /// The image file.
    ///
    /// # Errors
    /// If there is no ramdisk, a part does not fit, the command line holds a
    /// NUL, the metadata is not JSON, or key and certificate are no pair.
    pub fn build(&self) -> Result<Vec<u8>, EifError> {
        if self.cmdline.contains('\0') {
            return Err(EifError::CmdlineWithNul);
        }
        if self.ramdisks.is_empty() {
            return Err(EifError::MissingSection {
                kind: SectionKind::Ramdisk,
            });
        }
        let mut sections = vec![
            (SectionKind::Kernel, self.kernel),
            (SectionKind::Cmdline, self.cmdline.as_bytes()),
        ];
        if let Some(metadata) = &self.metadata {
            if self.header.version < 4 {
                return Err(EifError::MetadataBeforeVersion4);
            }
            serde_json::from_slice::<serde::de::IgnoredAny>(metadata)
                .map_err(|_| EifError::MetadataNotJson)?;
            sections.push((SectionKind::Metadata, metadata));
        }
        sections.extend(
            self.ramdisks
                .iter()
                .map(|data| (SectionKind::Ramdisk, *data)),
        );

        let signature = self.signature_section(&sections)?;
        if let Some(signature) = &signature {
            sections.push((SectionKind::Signature, signature));
        }
        layout::write(&self.header, &sections)
    }

    fn signature_section(
        &self,
        sections: &[(SectionKind, &[u8])],
    ) -> Result<Option<Vec<u8>>, SignatureError> {
        let Some(Signer {
            certificate_pem,
            key,
        }) = self.signer
        else {
            return Ok(None);
        };
        let pcr0 = measure::measure(sections.iter().copied(), None).pcr0;
        Signature::sign(certificate_pem, key, &pcr0).map(|signature| Some(signature.to_section()))
    }
}

/// Metadata in the shape that the official tools read, with nothing in it that
/// depends on when or where it was made.
#[must_use]
pub fn reproducible_metadata(image_name: &str, image_version: &str) -> Vec<u8> {
    serde_json::to_vec(&ImageMetadata {
        image_name,
        image_version,
        build_metadata: BuildMetadata {
            build_time: "1970-01-01T00:00:00Z",
            build_tool: env!("CARGO_PKG_NAME"),
            build_tool_version: env!("CARGO_PKG_VERSION"),
            operating_system: "unknown",
            kernel_version: "unknown",
        },
        docker_info: None,
        custom_metadata: None,
    })
    .unwrap_or_default() // text and nulls always serialize
}

// Structures, not JSON map: the order of their fields is the order of the bytes.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageMetadata<'a> {
    image_name: &'a str,
    image_version: &'a str,
    build_metadata: BuildMetadata<'a>,
    docker_info: Option<()>,
    custom_metadata: Option<()>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuildMetadata<'a> {
    build_time: &'a str,
    build_tool: &'a str,
    build_tool_version: &'a str,
    operating_system: &'a str,
    kernel_version: &'a str,
}
