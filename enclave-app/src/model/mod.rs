//! The network: one ONNX file, one fixed input shape, three probabilities.
//!
//! Source of truth: `model/MODEL_CARD.md`. The digest of the file is part of the
//! enclave's measured configuration, and a model that does not have it is not
//! loaded. Not modelled: other shapes and label sets, batches, uncertainty: any
//! picture gets an answer, a chest or not.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tract_onnx::prelude::{
    DatumExt, Framework, InferenceModelExt, TValue, TractResult, TypedSimplePlan, tvec,
};

use crate::image::{SIDE, Tensor};

/// What the network tells apart, in the order of its output.
pub const LABELS: [&str; 3] = ["normal", "bacterial_pneumonia", "viral_pneumonia"];

/// How far the probabilities may be from adding up to 1.
const SUM_TOLERANCE: f32 = 1e-3;

/// One label and how probable the network thinks it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// One of [`LABELS`].
    pub label: String,
    /// 0 to 1; the findings of one image add up to 1.
    pub probability: f32,
}

/// Why the network could not be loaded or gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file is not the one that the configuration names.
    #[error(
        "the model's SHA-256 is {}, the configuration expects {}",
        Hex(found),
        Hex(expected)
    )]
    Digest {
        /// SHA-256 of the file.
        found: [u8; 32],
        /// SHA-256 in the configuration.
        expected: [u8; 32],
    },
    /// Not an ONNX file with one 1×1×128×128 input that can be run.
    #[error("the model cannot be loaded")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The run failed.
    #[error("the model cannot be run")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The output is not three probabilities.
    #[error("the model's output is not {} probabilities that add up to 1", LABELS.len())]
    Output,
}

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A loaded network. Cheap to clone, and [`Model::infer`] may run in several
/// threads at once.
#[derive(Clone)]
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    sha256: [u8; 32],
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("sha256", &hex::encode(self.sha256))
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads and optimises the ONNX file `onnx`.
    ///
    /// # Errors
    /// [`ModelError::Digest`] before anything is parsed, if the SHA-256 of the
    /// file is not `expected_sha256`; [`ModelError::Load`] if it does not load.
    pub fn load(onnx: &[u8], expected_sha256: &[u8; 32]) -> Result<Model, ModelError> {
        let sha256: [u8; 32] = Sha256::digest(onnx).into();
        if &sha256 != expected_sha256 {
            return Err(ModelError::Digest {
                found: sha256,
                expected: *expected_sha256,
            });
        }
        let plan = plan(onnx).map_err(|error| ModelError::Load(error.into()))?;
        Ok(Model { plan, sha256 })
    }

    /// SHA-256 of the ONNX file.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Runs the network on a black and on a white picture, to see that it gives what its
    /// labels say.
    ///
    /// # Errors
    /// As [`Model::infer`].
    pub fn check(&self) -> Result<(), ModelError> {
        for level in [0, 255] {
            let picture = Tensor::from_levels(&[level; SIDE * SIDE]).ok_or(ModelError::Output)?;
            self.infer(&picture)?;
        }
        Ok(())
    }

    /// What the network finds, in the order of [`LABELS`].
    ///
    /// # Errors
    /// [`ModelError::Run`] if it fails, [`ModelError::Output`] if what comes out
    /// is not a probability distribution over the labels.
    pub fn infer(&self, tensor: &Tensor) -> Result<Vec<Finding>, ModelError> {
        let output = self
            .run(tensor)
            .map_err(|error| ModelError::Run(error.into()))?;
        findings(&output)
    }

    fn run(&self, tensor: &Tensor) -> TractResult<Vec<f32>> {
        let input = tract_onnx::prelude::Tensor::from_shape(&[1, 1, SIDE, SIDE], tensor.values())?;
        let outputs = self.plan.run(tvec![TValue::from(input)])?;
        let Some(output) = outputs.first() else {
            return Ok(Vec::new());
        };
        Ok(output
            .to_plain_array_view::<f32>()?
            .iter()
            .copied()
            .collect())
    }
}

fn plan(onnx: &[u8]) -> TractResult<Arc<TypedSimplePlan>> {
    let model = tract_onnx::onnx()
        .model_for_read(&mut Cursor::new(onnx))?
        .with_input_fact(0, f32::fact([1, 1, SIDE, SIDE]).into())?
        .into_typed()?
        .into_decluttered()?
        .into_optimized()?;
    TypedSimplePlan::new(model)
}

/// Pairs the output with the labels, if it is a distribution.
fn findings(output: &[f32]) -> Result<Vec<Finding>, ModelError> {
    let in_range = |probability: &f32| (-SUM_TOLERANCE..=1.0 + SUM_TOLERANCE).contains(probability);
    let sum: f32 = output.iter().sum();
    if output.len() != LABELS.len()
        // NaN and infinity are in no range.
        || !output.iter().all(in_range)
        || (sum - 1.0).abs() > SUM_TOLERANCE
    {
        return Err(ModelError::Output);
    }
    Ok(LABELS
        .iter()
        .zip(output)
        .map(|(label, &probability)| Finding {
            label: (*label).to_owned(),
            probability,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_file_with_another_digest_and_names_both() {
        let error = Model::load(b"not a model", &[0xAB; 32]).unwrap_err();
        assert!(matches!(
            error,
            ModelError::Digest {
                expected: [0xAB, ..],
                ..
            }
        ));
        let text = error.to_string();
        assert!(text.contains(&"ab".repeat(32)), "{text}");
        assert!(
            text.contains(&hex::encode(Sha256::digest(b"not a model"))),
            "{text}"
        );
    }

    #[test]
    fn refuses_a_file_that_is_not_a_model() {
        let digest = Sha256::digest(b"not a model").into();
        assert!(matches!(
            Model::load(b"not a model", &digest),
            Err(ModelError::Load(_))
        ));
    }

    #[test]
    fn accepts_only_distributions_over_the_labels() {
        let labels: Vec<String> = findings(&[0.2, 0.3, 0.5])
            .unwrap()
            .into_iter()
            .map(|f| f.label)
            .collect();
        assert_eq!(labels, LABELS);
        for output in [
            &[][..],
            &[0.5, 0.5],
            &[0.2, 0.3, 0.4],
            &[0.2, 0.3, 0.5, 0.0],
            &[f32::NAN, 0.5, 0.5],
            &[f32::INFINITY, f32::NEG_INFINITY, 1.0],
            &[-1.0, 1.0, 1.0],
        ] {
            assert!(findings(output).is_err(), "{output:?}");
        }
    }

    #[test]
    fn a_model_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>() {}
        shared::<Model>();
    }
}
