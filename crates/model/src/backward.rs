//! Run a stage backward: from the tape of a forward pass, or from the input alone.
//!
//! [`StageWeights::forward_keep`] and [`StageWeights::backward_kept`] are for a seat that runs both passes of a
//! unit with the same weights: 6 operations per parameter and token. [`StageWeights::backward`] makes the tape
//! again (8 operations) and is what replays and audits use, and a seat whose tape was evicted. Both run the same
//! code on the same tape, so their bits are the same.
//!
//! Weight gradients go to the sum one tensor at a time; see [`crate::sink`] for what happens if a later one fails.

use crate::{
    error::ModelError,
    gradient::{GradSum, Sign},
    layer::{self, Tape},
    memory::{HEAD_ROWS, Plan, Room},
    sink::Sink,
    stage::{BackwardOut, StageInput, StageTarget, StageWeights},
    workspace::{Kept, TapeMemory, Workspace},
};
use tessera_arith::{Store, embed, loss, norm};

/// The sum a microbatch goes to, or comes from.
type Accumulate<'a> = Option<(&'a mut GradSum, Sign)>;

impl StageWeights {
    /// [`StageWeights::forward`] of one whole microbatch that also keeps what its backward pass needs. On the last
    /// stage, whose backward pass needs no output, call [`StageWeights::backward`] alone: it is cheaper.
    pub fn forward_keep(
        &self,
        input: StageInput,
        workspace: &mut Workspace,
    ) -> Result<(Vec<f32>, Kept), ModelError> {
        let mut tape = self.begin(input, workspace)?;
        let mut out = if self.plan.last { Vec::new() } else { vec![0.0; self.spec.boundary_values()] };
        let result = self.fill(&mut tape, Some(&mut out), workspace).and_then(|()| {
            if self.plan.last {
                let plan = self.whole();
                let top = &tape.values.values()[plan.kept_range(self.plan.sub_layers.len())];
                out = self.logits(&top[..plan.dims.stream()], workspace.scratch.room(plan.forward()))?;
            }
            self.finite("the output", &out)
        });
        match result {
            Ok(()) => Ok((out, Kept::new(self, tape))),
            Err(error) => {
                workspace.give_back(tape);
                Err(error)
            }
        }
    }

    /// Bytes that [`StageWeights::forward_keep`] keeps, but for the tokens of the first stage.
    pub fn tape_bytes(&self) -> usize {
        4 * self.whole().kept()
    }

    /// Run backward from what [`StageWeights::forward_keep`] of the same weights kept: bit for bit
    /// [`StageWeights::backward`] of the same input. The memory of `kept` returns to the workspace.
    ///
    /// # Errors
    /// [`ModelError::WrongTape`] for a tape of another run, stage or step; the others as in `backward`. The sum is
    /// then unchanged.
    pub fn backward_kept(
        &self,
        kept: Kept,
        target: StageTarget,
        workspace: &mut Workspace,
        accumulate: Accumulate,
    ) -> Result<BackwardOut, ModelError> {
        let checked = kept.check(self).and_then(|()| self.admit(target, &accumulate));
        let mut tape = kept.memory;
        let result = checked.and_then(|count| self.consume(&mut tape, target, workspace, accumulate, count));
        workspace.give_back(tape);
        result
    }

    /// Recompute the forward pass of one microbatch from its input and run backward.
    ///
    /// The gradient of the microbatch's mean loss is computed from zero, rounded to the step's grid, and
    /// added to (or exactly taken from) the sum, if there is one.
    pub fn backward(
        &self,
        input: StageInput,
        target: StageTarget,
        workspace: &mut Workspace,
        accumulate: Accumulate,
    ) -> Result<BackwardOut, ModelError> {
        let count = self.admit(target, &accumulate)?;
        let mut tape = self.begin(input, workspace)?;
        let filled = self.fill(&mut tape, None, workspace);
        let result = filled.and_then(|()| self.consume(&mut tape, target, workspace, accumulate, count));
        workspace.give_back(tape);
        result
    }

    /// The memory plan of a whole microbatch.
    fn whole(&self) -> Plan<'_> {
        self.memory(self.spec.microbatch_tokens())
    }

    /// Check what a backward pass is given, and return how many microbatches the sum then holds.
    fn admit(&self, target: StageTarget, accumulate: &Accumulate) -> Result<u32, ModelError> {
        let count = match accumulate {
            Some((sum, sign)) => {
                sum.check_state(self)?;
                sum.next_count(*sign)?
            }
            None => 0,
        };
        let (rows, values) = (self.spec.microbatch_tokens(), self.spec.boundary_values());
        match (target, self.plan.last) {
            (StageTarget::Grad(dy), false) if dy.len() == values => {
                self.finite("the output's gradient", dy)?;
            }
            (StageTarget::Grad(dy), false) => {
                return Err(self.size("the output's gradient", values.to_string(), dy.len()));
            }
            (StageTarget::Labels(labels), true) if labels.len() == rows => (),
            (StageTarget::Labels(labels), true) => {
                return Err(self.size("the labels", rows.to_string(), labels.len()));
            }
            (StageTarget::Grad(_), true) => {
                return Err(self.wrong("got a gradient", "the last stage starts from labels"));
            }
            (StageTarget::Labels(_), false) => {
                return Err(self.wrong("got labels", "only the last stage takes labels; send it a gradient"));
            }
        }
        Ok(count)
    }

    /// A tape that holds the input of a whole microbatch and nothing else yet.
    fn begin(&self, input: StageInput, workspace: &mut Workspace) -> Result<TapeMemory, ModelError> {
        self.check_input(input, true)?;
        let plan = self.whole();
        let mut tape = workspace.tape(plan.kept());
        tape.tokens.clear();
        if let StageInput::Tokens(tokens) = input {
            tape.tokens.extend_from_slice(tokens);
        }
        match self.enter(input, &mut tape.values.values_mut()[..plan.dims.stream()]) {
            Ok(()) => Ok(tape),
            Err(error) => {
                workspace.give_back(tape);
                Err(error)
            }
        }
    }

    /// Run forward from the input in `tape` and fill the rest of it. `out` receives the output of a stage that is
    /// not the last; without it, the last product of the last sub-layer, which no gradient needs, is left out.
    fn fill(
        &self,
        tape: &mut TapeMemory,
        mut out: Option<&mut [f32]>,
        workspace: &mut Workspace,
    ) -> Result<(), ModelError> {
        let plan = self.whole();
        let mut room = workspace.scratch.room(plan.forward_kept());
        let mut kept = Room::new(tape.values.values_mut());
        let mut x = kept.take(plan.dims.stream());
        for (at, sub_layer) in self.plan.sub_layers.iter().enumerate() {
            let layer = self.layer(at, plan.dims);
            let tape = Tape::take(sub_layer.kind, &plan.dims, &mut kept);
            let end = at + 1 == self.plan.sub_layers.len();
            let next = if !end || self.plan.last { Some(kept.take(plan.dims.stream())) } else { out.take() };
            match next {
                Some(next) => {
                    // The input is kept, and the product is added onto a copy of it.
                    next.copy_from_slice(x);
                    layer.forward(next, tape, true, &workspace.tables, room.lend())?;
                    x = next;
                }
                None => layer.forward(x, tape, false, &workspace.tables, room.lend())?,
            }
        }
        Ok(())
    }

    /// Run backward from a full tape. On an error the sum is as it was.
    fn consume(
        &self,
        tape: &mut TapeMemory,
        target: StageTarget,
        workspace: &mut Workspace,
        accumulate: Accumulate,
        count: u32,
    ) -> Result<BackwardOut, ModelError> {
        let mut sink = Sink::new(self.plan.stage, accumulate);
        let error = match self.pass(tape, target, workspace, &mut sink) {
            Ok(out) => {
                sink.finish(count);
                return Ok(out);
            }
            Err(error) => error,
        };
        if let Some(mut undo) = sink.reverse() {
            // The tape is used up, but for the input.
            self.fill(tape, None, workspace)?;
            // This fails where the first run did, which is after everything that is to be taken back.
            let again = self.pass(tape, target, workspace, &mut undo);
            if !undo.is_full() {
                again?;
            }
        }
        Err(error)
    }

    fn pass(
        &self,
        tape: &mut TapeMemory,
        target: StageTarget,
        workspace: &mut Workspace,
        sink: &mut Sink,
    ) -> Result<BackwardOut, ModelError> {
        let plan = self.whole();
        let stream = plan.dims.stream();
        let mut room = workspace.scratch.room(plan.backward());
        let gradient = room.take(plan.gradient());
        let mut returned = match target {
            _ if self.plan.first => Vec::new(),
            StageTarget::Grad(dy) => dy.to_vec(),
            StageTarget::Labels(_) => vec![0.0; stream],
        };
        let dx = if self.plan.first { room.take(stream) } else { &mut returned[..] };
        let ends = plan.kept_range(self.plan.sub_layers.len()).start;
        let (mut below, top) = tape.values.values_mut().split_at_mut(ends);
        let losses = match target {
            StageTarget::Labels(labels) => {
                self.head_backward(&top[..stream], labels, dx, sink, gradient, room.lend())?
            }
            StageTarget::Grad(dy) => {
                if self.plan.first {
                    dx.copy_from_slice(dy);
                }
                Vec::new()
            }
        };
        for (at, sub_layer) in self.plan.sub_layers.iter().enumerate().rev() {
            let (before, kept) = below.split_at_mut(plan.kept_range(at).start);
            below = before;
            let mut kept = Room::new(kept);
            let x = kept.take(stream);
            let tape = Tape::take(sub_layer.kind, &plan.dims, &mut kept);
            sink.count_from(self.tensors_of(at).start);
            let layer = self.layer(at, plan.dims);
            layer.backward(x, tape, dx, &workspace.tables, sink, gradient, room.lend())?;
        }
        if self.plan.first {
            // Only the tokens present have a gradient.
            let (vocabulary, places) = (&mut workspace.vocabulary, &mut workspace.places);
            vocabulary.clone_from(&tape.tokens);
            vocabulary.sort_unstable();
            vocabulary.dedup();
            places.clear();
            let place = |token| vocabulary.partition_point(|other| other < token) as u32;
            places.extend(tape.tokens.iter().map(place));
            let rows = room.take(vocabulary.len() * plan.dims.d);
            rows.fill(0.0);
            embed::scatter_add(rows, plan.dims.d, places, dx)?;
            sink.take_rows(vocabulary, rows)?;
        }
        self.finite("the input's gradient", dx)?;
        let loss = self.plan.last.then(|| layer::mean(&losses));
        Ok(BackwardOut { dx: (!self.plan.first).then_some(returned), loss, losses })
    }

    /// Set `dx` to the gradient of the last sub-layer's output `x`, and return the loss of every token.
    fn head_backward(
        &self,
        x: &[f32],
        labels: &[u32],
        dx: &mut [f32],
        sink: &mut Sink,
        gradient: &mut [f32],
        mut room: Room,
    ) -> Result<Vec<f32>, ModelError> {
        let plan = self.whole();
        let (rows, d, vocab) = (plan.dims.rows, plan.dims.d, plan.vocab);
        let (norm_at, head_at) = (self.tensors.len() - 2, self.tensors.len() - 1);
        let (gain, table) = (&self.tensors[norm_at], &self.tensors[head_at]);
        let (inv_rms, losses, dgain) = (room.take(rows), room.take(rows), room.take(d));
        let most = rows.min(HEAD_ROWS);
        let (logits, normed) = (room.take(most * vocab), room.take(most * d));
        let dtable = &mut gradient[..table.len()];
        dgain.fill(0.0);
        let (epsilon, scale) = (self.spec.model.norm_eps.f32(), 1.0 / rows as f32);
        for first in (0..rows).step_by(HEAD_ROWS) {
            let count = HEAD_ROWS.min(rows - first);
            let (some, span) = (first..first + count, first * d..(first + count) * d);
            let (x, inv_rms) = (&x[span.clone()], &mut inv_rms[some.clone()]);
            let (logits, normed) = (&mut logits[..count * vocab], &mut normed[..count * d]);
            norm::rms_forward(x, gain, epsilon, normed, inv_rms)?;
            layer::linear(normed, table, d, logits, Store::Set)?;
            loss::cross_entropy_in_place(logits, &labels[some.clone()], &mut losses[some], scale)?;
            let store = if first == 0 { Store::Set } else { Store::Add };
            layer::linear_weight_gradient(logits, normed, d, dtable, store)?;
            // The normed rows have served: their gradient takes their place.
            layer::linear_input_gradient(logits, table, d, normed, Store::Set)?;
            norm::rms_backward(x, gain, inv_rms, normed, &mut dx[span], dgain, Store::Set)?;
        }
        self.finite("the loss", losses)?;
        sink.count_from(0);
        sink.take(head_at, dtable)?;
        sink.take(norm_at, dgain)?;
        Ok(losses.to_vec())
    }
}
