//! Store a stage's state exactly: as bytes for replicas, as a safetensors file for disk.
//!
//! Both hold weights, moments, step, running products and gradient exponents. The bytes are a pure function
//! of the state, so replicas can serve each other pieces; their length follows from the run spec, and
//! nothing is allocated before it is checked. A file is written beside its target, flushed to disk, and
//! renamed over it, and carries the state root, which is checked on load. Weights in the file have the names
//! and shapes of Hugging Face's Llama checkpoints; moments have the prefix `optimizer.`.

use crate::{
    error::ModelError,
    plan::{StagePlan, TensorPlan},
    spec::RunSpec,
    stage::StageWeights,
    state::{StageState, StateHeader, little_endian, moved_by_muon},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{collections::HashMap, fs, io::Write as _, path::Path, sync::Arc};
use tessera_canon::{Hash, decode, encode};

const MAGIC: &[u8; 8] = b"tssrst01";

impl StageState {
    /// The exact state as bytes, see [`StageState::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = encode(&self.header());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&header);
        for values in self.weights.tensors.iter().chain(&self.first).chain(&self.second) {
            bytes.extend_from_slice(&little_endian(values));
        }
        bytes
    }

    /// Read what [`StageState::to_bytes`] wrote for `stage` of the valid run `spec`. Any bytes may be passed;
    /// whether the state is the agreed one is for the caller to see from its root.
    pub fn from_bytes(spec: &RunSpec, stage: u16, bytes: &[u8]) -> Result<Self, ModelError> {
        let plan = plan(spec, stage)?;
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| bad("the bytes of a stage state of this version", "another beginning"))?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| bad("a header", "the end"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let header =
            rest.get(..length).ok_or_else(|| bad(format!("a header of {length} bytes"), rest.len()))?;
        let header: StateHeader = decode(header).map_err(|e| bad("the header's fields", e.cause))?;
        let mut body = &rest[length..];
        let lengths = tensor_lengths(spec, &plan);
        let expected: usize = lengths.iter().map(|&values| 4 * values).sum();
        if body.len() != expected {
            return Err(bad(format!("{expected} bytes of tensors"), body.len()));
        }
        let mut tensors = Vec::with_capacity(lengths.len());
        for values in lengths {
            let (raw, rest) = body.split_at(4 * values);
            tensors.push(floats(raw));
            body = rest;
        }
        assemble(spec, plan, header, tensors)
    }

    /// Write the state to `path` as safetensors, atomically: after a crash the file is the old or the new one.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let plan = self.weights.plan();
        let raw: Vec<Vec<u8>> = self
            .weights
            .tensors
            .iter()
            .chain(&self.first)
            .chain(&self.second)
            .map(|v| little_endian(v))
            .collect();
        let mut views = Vec::new();
        for ((name, tensor), bytes) in named(plan).zip(&raw) {
            if !bytes.is_empty() {
                let view = TensorView::new(Dtype::F32, tensor.shape(), bytes);
                views.push((name, view.map_err(|e| bad("tensors that fit their shapes", e))?));
            }
        }
        let header: String = encode(&self.header()).iter().map(|byte| format!("{byte:02x}")).collect();
        let metadata = HashMap::from([
            ("format".to_string(), "pt".to_string()),
            ("tessera.header".to_string(), header),
            ("tessera.step".to_string(), self.step().to_string()),
            ("tessera.stage".to_string(), self.stage().to_string()),
            ("tessera.state_root".to_string(), self.state_root().to_string()),
        ]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| bad("a writable state", e))?;
        write_atomically(path, &bytes)
    }

    /// Read what [`StageState::save`] wrote for `stage` of the run `spec`, and check its root.
    pub fn load(spec: &RunSpec, stage: u16, path: &Path) -> Result<Self, ModelError> {
        let plan = plan(spec, stage)?;
        let bytes = fs::read(path).map_err(|cause| io("cannot read", path, cause))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad("a safetensors file", e))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| bad("safetensors metadata", e))?;
        let entry = |name: &str| {
            let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(name));
            entry.ok_or_else(|| bad(format!("the metadata entry {name}"), "a file without it"))
        };
        let header =
            unhex(entry("tessera.header")?).ok_or_else(|| bad("a header in hexadecimal", "other text"))?;
        let header: StateHeader = decode(&header).map_err(|e| bad("the header's fields", e.cause))?;
        let claimed: Hash = entry("tessera.state_root")?.parse().map_err(|e| bad("a root", e))?;
        let mut tensors = Vec::new();
        for ((name, tensor), values) in named(&plan).zip(tensor_lengths(spec, &plan)) {
            if values == 0 {
                tensors.push(Vec::new());
                continue;
            }
            let view = file.tensor(&name).map_err(|e| bad(format!("the tensor {name}"), e))?;
            if view.dtype() != Dtype::F32 || view.shape() != tensor.shape() {
                let got = format!("{:?} {:?}", view.dtype(), view.shape());
                return Err(bad(format!("{name} as F32 {:?}", tensor.shape()), got));
            }
            tensors.push(floats(view.data()));
        }
        let state = assemble(spec, plan, header, tensors)?;
        let got = state.state_root();
        if got != claimed {
            return Err(ModelError::Corrupt { expected: claimed, got });
        }
        Ok(state)
    }
}

/// Names of all tensors a state may hold, weights first, then first and second moments.
fn named(plan: &StagePlan) -> impl Iterator<Item = (String, &TensorPlan)> {
    let prefixes = ["", "optimizer.first.", "optimizer.second."];
    prefixes.into_iter().flat_map(|p| plan.tensors.iter().map(move |t| (format!("{p}{}", t.name), t)))
}

/// Values of each of them; 0 for second moments that Muon does not keep.
fn tensor_lengths(spec: &RunSpec, plan: &StagePlan) -> Vec<usize> {
    let lengths = plan.tensors.iter().map(TensorPlan::len);
    let second = plan.tensors.iter().map(|t| if moved_by_muon(spec, t) { 0 } else { t.len() });
    lengths.clone().chain(lengths).chain(second).collect()
}

fn plan(spec: &RunSpec, stage: u16) -> Result<StagePlan, ModelError> {
    spec.stage_plan(stage).ok_or(ModelError::NoSuchStage { got: stage, count: spec.stage_count() })
}

fn assemble(
    spec: &RunSpec,
    plan: StagePlan,
    header: StateHeader,
    mut tensors: Vec<Vec<f32>>,
) -> Result<StageState, ModelError> {
    if header.run_id != spec.run_id() {
        return Err(bad(format!("a state of the run {}", spec.run_id()), header.run_id));
    }
    if header.stage != plan.stage {
        return Err(bad(format!("stage {}", plan.stage), header.stage));
    }
    if header.step > u64::from(spec.steps) {
        return Err(bad(format!("a step up to {}", spec.steps), header.step));
    }
    let powers = header.powers.map(f32::from_bits);
    if powers.iter().any(|power| !(0.0..=1.0).contains(power)) {
        return Err(bad("running products from 0 to 1", format!("{powers:?}")));
    }
    let (least, most) = crate::gradient::EXPONENT_RANGE;
    if header.exponents.len() != plan.tensors.len()
        || header.exponents.iter().any(|e| !(least..=most).contains(e))
    {
        return Err(bad(format!("{} exponents from {least} to {most}", plan.tensors.len()), "others"));
    }
    if tensors.iter().flatten().any(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite { stage: plan.stage, what: "a stored tensor" });
    }
    let second = tensors.split_off(2 * plan.tensors.len());
    let first = tensors.split_off(plan.tensors.len());
    let weights = StageWeights {
        spec: Arc::new(spec.clone()),
        plan: Arc::new(plan),
        step: header.step,
        exponents: Arc::new(header.exponents.into_inner()),
        tensors,
    };
    Ok(StageState { weights, first, second, powers })
}

/// Replace the file at `path`: write beside it, flush, rename, flush the folder.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut beside = path.as_os_str().to_os_string();
    beside.push(".new");
    let beside = Path::new(&beside);
    let mut file = fs::File::create(beside).map_err(|cause| io("cannot create", beside, cause))?;
    file.write_all(bytes).map_err(|cause| io("cannot write", beside, cause))?;
    file.sync_all().map_err(|cause| io("cannot flush", beside, cause))?;
    fs::rename(beside, path).map_err(|cause| io("cannot rename onto", path, cause))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Some file systems cannot flush a folder; the rename is then as durable as they make it.
    if let Ok(folder) = fs::File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn bad(expected: impl ToString, got: impl ToString) -> ModelError {
    ModelError::Decode { what: "a stage state", expected: expected.to_string(), got: got.to_string() }
}

fn io(action: &'static str, path: &Path, cause: std::io::Error) -> ModelError {
    ModelError::Io { action, path: path.display().to_string(), cause }
}
