//! Run a small stage for real, seat by seat and step by step, with audits carried out message by message.
//!
//! The stage is stage 1 of preset `tiny`, trained for real on inputs and gradients of real microbatches. Units, leaves,
//! receipts, headers, draws, requests and re-executions are those of the crate. What is simulated: transport (calls),
//! the ledger (its beacon is a hash of a counter, its ladder is applied by whoever drives the world), and time, which
//! is counted in steps.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::collections::VecDeque;
use tessera_audit::{
    AuditParams, UnitDigests, Work,
    attackers::Attacker,
    audit::{
        Answer, AuditVerdict, Auditor, COMMITMENT, Committed, Computed, Effect, FaultKind, Input, Kept,
        REVEAL, Refusal, Request, Retention, Served, Task,
    },
    averaging::grad_root,
    draw::{
        canary::{self, CanaryInput},
        pick::{Candidate, Pick, Seed},
        rate::Standing,
    },
    execute,
    reexec::Outputs,
    tensors,
    unit::{
        AnchorTree, Commitment, Direction, EdgeReceipt, Receipt, SignedHeader, StepContext, StepHeader,
        UnitId, UnitLeaf, UnitList, UnitSecret,
    },
};
use tessera_canon::{Domain, Hash, PublicKey, SecretKey, Signed, digest};
use tessera_model::{
    Dataset, GradSum, RunSpec, StageInput, StageState, StageTarget, StageWeights, Workspace,
};

const BEACON: Domain = Domain::new("tessera/test-beacon/v1");
pub const STAGE: u16 = 1;
pub const BUDGET: usize = 64 << 20;

/// The input and output gradient of a real microbatch at the stage.
pub struct Boundary {
    pub x: Vec<f32>,
    pub dy: Vec<f32>,
}

pub struct Seat {
    pub key: SecretKey,
    pub slot: u16,
    pub operator: Hash,
    pub standing: Standing,
    pub served: Served,
    pub auditor: Auditor,
    pub previous: Hash,
    pub last_auditor: Option<PublicKey>,
}

/// What a seat did in a step.
pub struct Did {
    pub headers: Vec<SignedHeader>,
    pub list: UnitList,
    pub leaves: Vec<UnitLeaf>,
    /// Whether it cheated in the unit, in the order of `leaves`.
    pub cheated: Vec<bool>,
    /// What the units really give, in the order of `leaves`.
    pub truth: Vec<UnitDigests>,
    pub sum: GradSum,
    pub canary: Option<usize>,
    /// A unit that gave no digest: the receiver voids it.
    pub void: usize,
}

/// How an audit ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub verdict: Option<AuditVerdict>,
    pub dispute: Option<(UnitLeaf, UnitDigests)>,
    /// The worker is to be made to open its leaf on the ledger.
    pub demanded: bool,
    pub faults: Vec<(PublicKey, FaultKind)>,
    pub messages: usize,
    pub steps: u64,
    pub reveal: Option<Signed<tessera_audit::audit::AuditReveal>>,
}

pub struct World {
    pub spec: RunSpec,
    pub params: AuditParams,
    pub state: StageState,
    pub root: Hash,
    pub weights_root: Hash,
    pub weights: StageWeights,
    pub workspace: Workspace,
    pub pool: Vec<Boundary>,
    pub up: SecretKey,
    pub down: SecretKey,
    pub up_served: Served,
    pub down_served: Served,
    pub seats: Vec<Seat>,
    pub epoch_beacon: Hash,
    pub beacons: u64,
    pub next_microbatch: u32,
    /// Neighbours that do not serve.
    pub silent: Vec<PublicKey>,
}

impl World {
    /// A stage of `operators.len()` seats, each of the operator given.
    pub fn new(operators: &[u8], params: AuditParams) -> Self {
        let mut spec = RunSpec::preset("tiny").unwrap();
        spec.steps = 1_000_000;
        let data = Dataset::embedded(&spec).unwrap();
        let stages: Vec<StageState> =
            (0..spec.stage_count()).map(|stage| StageState::init(&spec, stage).unwrap()).collect();
        let mut workspace = Workspace::new(&spec).unwrap();
        let pool = (0..8).map(|number| boundary(&spec, &data, &stages, number, &mut workspace)).collect();
        let state = stages[usize::from(STAGE)].clone();
        let retention = || Retention::new(params.retention_steps, BUDGET);
        let seats = operators
            .iter()
            .enumerate()
            .map(|(slot, operator)| {
                let key = SecretKey::from_seed([slot as u8 + 1; 32]);
                Seat {
                    served: Served::new(key.clone(), STAGE, 0, retention()),
                    auditor: Auditor::new(key.clone(), params.clone()),
                    key,
                    slot: slot as u16,
                    operator: Hash([*operator; 32]),
                    standing: Standing { units: u64::from(params.probation_units), flagged: None },
                    previous: Hash::ZERO,
                    last_auditor: None,
                }
            })
            .collect();
        let (up, down) = (SecretKey::from_seed([101; 32]), SecretKey::from_seed([102; 32]));
        let mut world = Self {
            up_served: Served::new(up.clone(), STAGE - 1, 0, retention()),
            down_served: Served::new(down.clone(), STAGE + 1, 0, retention()),
            root: state.state_root(),
            weights_root: tensors::weights_root(state.weights()),
            weights: state.snapshot(),
            spec,
            params,
            state,
            workspace,
            pool,
            up,
            down,
            seats,
            epoch_beacon: Hash([55; 32]),
            beacons: 0,
            next_microbatch: 0,
            silent: Vec::new(),
        };
        let accounts: Vec<PublicKey> = world.seats.iter().map(|seat| seat.key.public()).collect();
        world.seats.iter_mut().for_each(|seat| seat.served.set_stage_seats(accounts.clone()));
        world
    }

    pub fn step(&self) -> u64 {
        self.state.step()
    }
    pub fn columns(&self) -> usize {
        self.spec.model.d_model as usize
    }
    pub fn run(&self) -> Hash {
        self.weights.spec().run_id()
    }
    pub fn context(&self) -> StepContext {
        StepContext {
            network: Hash([3; 32]),
            run: self.run(),
            window: 0,
            stage: STAGE,
            generation: 0,
            step: self.step(),
            w_root: self.root,
            weights: self.weights_root,
        }
    }
    pub fn candidates(&self) -> Vec<Candidate> {
        let of = |seat: &Seat| Candidate {
            slot: seat.slot,
            account: seat.key.public(),
            operator: seat.operator,
            held_state: true,
            on_probation: seat.standing.on_probation(&self.params),
        };
        self.seats.iter().map(of).collect()
    }
    pub fn beacon(&mut self) -> Hash {
        self.beacons += 1;
        digest(BEACON, &self.beacons)
    }
    pub fn seat_of(&self, account: &PublicKey) -> Option<usize> {
        self.seats.iter().position(|seat| seat.key.public() == *account)
    }

    /// Compute and commit `units` units in seat `seat`, whose conduct `attacker` may change.
    pub fn work(&mut self, seat: usize, units: u32, attacker: &mut dyn Attacker) -> Did {
        let step = self.step();
        let run = self.run();
        let (up_secret, own_secret) =
            (UnitSecret::of(&self.up), UnitSecret::of(&self.seats[seat].key.clone()));
        let key = self.seats[seat].key.clone();
        let slot = self.seats[seat].slot;
        let mut sum = GradSum::zero(&self.weights);
        let (mut made, mut void) = (Vec::new(), 0);
        for _ in 0..units {
            let number = self.next_microbatch;
            self.next_microbatch += 1;
            let label = up_secret.label(&run, step, STAGE, number, 0);
            let out = own_secret.label(&run, step, STAGE + 1, number, 0);
            let unit = UnitId { run, generation: 0, step, stage: STAGE, label, slot, worker: key.public() };
            let boundary = &self.pool[number as usize % self.pool.len()];
            let (x, dy) = (boundary.x.clone(), boundary.dy.clone());
            let work =
                Work { input: StageInput::Hidden(&x), target: Some(StageTarget::Grad(&dy)), probe: false };
            let mut outputs = execute(&unit, &self.weights, work, &mut self.workspace).unwrap();
            let truth = outputs.digests(&self.weights, work);
            let cheats = attacker.cheats();
            if cheats {
                attacker.outputs(&unit, &mut outputs);
            }
            if !outputs.y.iter().chain(&outputs.dx).all(|value| value.is_finite()) {
                // The receiver finds it while decoding, and the unit never becomes one.
                void += 1;
                continue;
            }
            let digests = outputs.digests(&self.weights, work);
            sum.add(outputs.dw.as_ref().unwrap()).unwrap();
            let UnitDigests { x: x_digest, y, dy: dy_digest, dx, dw } = digests;
            let mut leaf = UnitLeaf {
                unit,
                out,
                w_root: self.root,
                weights: self.weights_root,
                x: x_digest,
                y,
                dy: dy_digest,
                dx,
                dw,
                arithmetic: tessera_model::ARITHMETIC_VERSION,
            };
            self.exchange(&key, &leaf, x, dy, outputs);
            if cheats {
                attacker.leaf(&mut leaf);
            }
            made.push((leaf, cheats, truth));
        }
        made.sort_unstable_by_key(|(leaf, _, _)| leaf.unit.label);
        let mut leaves: Vec<UnitLeaf> = made.iter().map(|(leaf, _, _)| leaf.clone()).collect();
        let input = CanaryInput { run, beacon: self.epoch_beacon, step, stage: STAGE };
        let hidden = canary::hide(&key, &input, 0, &mut leaves, &self.params);
        let seal = canary::commitment(&key, &input, hidden.as_ref());
        attacker.sum(&mut sum);
        let neighbours = (self.up.public(), self.down.public());
        let edges = leaves.iter().map(|leaf| (leaf.clone(), neighbours.0, neighbours.1)).collect();
        let commitment = Commitment::new(edges, &[]).unwrap();
        let previous = self.seats[seat].previous;
        let honest = commitment.header(&key, (slot, 0), &self.context(), grad_root(&sum), seal, previous);
        let headers = attacker.headers(&key, honest);
        let at = hidden.as_ref().map(|canary| canary.at);
        let committed = Committed {
            header: headers[0].clone(),
            commitment: commitment.clone(),
            canary: hidden.map(|canary| (canary, input)),
        };
        let seat = &mut self.seats[seat];
        seat.previous = headers[0].value.id();
        seat.standing.units += leaves.len() as u64;
        seat.served.retention().keep_commitment((step, 0), committed).unwrap();
        Did {
            headers,
            list: commitment.list().clone(),
            cheated: made.iter().map(|(_, cheats, _)| *cheats).collect(),
            truth: made.into_iter().map(|(_, _, truth)| truth).collect(),
            leaves,
            sum,
            canary: at,
            void,
        }
    }

    /// Both sides of both edges sign and keep what passed.
    fn exchange(&mut self, worker: &SecretKey, leaf: &UnitLeaf, x: Vec<f32>, dy: Vec<f32>, out: Outputs) {
        let (up, down) = (self.up.clone(), self.down.clone());
        let (step, label) = (leaf.unit.step, leaf.unit.label);
        let kept = |from: &SecretKey, to: &SecretKey, label, direction, values: Vec<f32>| {
            let digest = tensors::boundary(&values, self.spec.model.d_model as usize);
            let receipt = receipt(leaf, from, to, label, direction, digest);
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Kept { values: values.into(), receipts: vec![receipt] }
        };
        let x = kept(&up, worker, label, Direction::Forward, x);
        let dy = kept(&down, worker, leaf.out, Direction::Backward, dy);
        let y = kept(worker, &down, leaf.out, Direction::Forward, out.y);
        let dx = kept(worker, &up, label, Direction::Backward, out.dx);
        let own = self.seats.iter_mut().find(|seat| seat.key.public() == worker.public()).unwrap();
        for store in [own.served.retention(), self.up_served.retention()] {
            store.keep((step, 0), label, Direction::Forward, x.clone()).unwrap();
            store.keep((step, 0), label, Direction::Backward, dx.clone()).unwrap();
        }
        for store in [own.served.retention(), self.down_served.retention()] {
            store.keep((step, 0), leaf.out, Direction::Forward, y.clone()).unwrap();
            store.keep((step, 0), leaf.out, Direction::Backward, dy.clone()).unwrap();
        }
    }

    /// The ledger's anchor over these headers, and the seed that the next beacon makes of it.
    pub fn anchor(&mut self, headers: &[&StepHeader]) -> Seed {
        let tree = AnchorTree::new(headers.iter().map(|header| header.place()));
        Seed { beacon: self.beacon(), anchor: tree.root() }
    }

    /// The task of auditing leaf `at` of `did`.
    pub fn task(&self, did: &Did, at: usize, seed: &Seed, repeats: Option<PublicKey>) -> Task {
        Task {
            unit: did.leaves[at].unit.clone(),
            edges: did.list.units[at].clone(),
            header: did.headers[0].value.clone(),
            beacon: seed.beacon,
            epoch_beacon: self.epoch_beacon,
            from_data: [false, false],
            columns: self.columns(),
            values: self.pool[0].x.len(),
            repeats,
        }
    }

    /// Let everybody know of a pick.
    pub fn allow(&mut self, pick: &Pick, did: &Did, at: usize) {
        let edges = &did.list.units[at];
        self.up_served.allow(pick, edges);
        self.down_served.allow(pick, edges);
        self.seats.iter_mut().for_each(|seat| seat.served.allow(pick, edges));
    }

    /// Carry out an audit to its end, message by message. `worker` changes what the audited seat answers, `auditor`
    /// what the auditor reports; `leaked` is what the worker tells the auditor privately.
    pub fn audit(
        &mut self,
        auditor: usize,
        task: Task,
        worker: Option<&mut dyn Attacker>,
        mut cheat: Option<&mut dyn Attacker>,
        leaked: Option<&UnitDigests>,
        first: Option<Signed<tessera_audit::audit::AuditReveal>>,
    ) -> Outcome {
        let mut worker = worker;
        let (start, own) = (self.step(), self.seats[auditor].key.clone());
        let unit = task.unit.clone();
        let mut outcome = Outcome::default();
        let mut inputs = VecDeque::from([Input::Assign(Box::new(task))]);
        inputs.extend(first.map(|reveal| Input::Reported(Box::new(reveal))));
        let mut now = start;
        loop {
            let input = match inputs.pop_front() {
                Some(input) => input,
                None if self.seats[auditor].auditor.pending() == 0 => break,
                None => {
                    now += 1;
                    assert!(now < start + 20, "an audit never ends");
                    Input::Tick
                }
            };
            let effects = self.seats[auditor].auditor.step(now, input).unwrap_or_default();
            for effect in effects {
                match effect {
                    Effect::Fetch { to, unit, direction } => {
                        outcome.messages += 1;
                        let request = Request::Tensor { unit: unit.clone(), direction };
                        let answer = self.ask(&own.public(), &to, &request, &mut worker);
                        if let Some(Ok(Answer::Tensor { values, receipt, other })) = answer {
                            let values = tessera_audit::audit::numbers(&values);
                            inputs.push_back(Input::Tensor {
                                from: to,
                                unit,
                                direction,
                                values,
                                receipt,
                                other,
                            });
                        }
                    }
                    Effect::Compute { unit, beacon, input, gradient, repeats } => {
                        let faked = cheat.as_mut().and_then(|cheat| cheat.report(leaked));
                        let result = match faked {
                            Some(computed) => Some(computed),
                            None => self.compute(&unit, &beacon, &input, &gradient, &own, repeats),
                        };
                        inputs.push_back(Input::Computed { unit, result });
                    }
                    Effect::Commit { to, commitment } => {
                        outcome.messages += 1;
                        assert!(commitment.verify(COMMITMENT));
                        let unit = commitment.value.unit.clone();
                        let request = Request::Open(commitment);
                        if let Some(Ok(Answer::Open(open))) =
                            self.ask(&own.public(), &to, &request, &mut worker)
                        {
                            inputs.push_back(Input::Opened { unit, open });
                        }
                    }
                    Effect::Reveal(reveal) => {
                        outcome.messages += 1;
                        let mut reveal = reveal;
                        if let Some(cheat) = &mut cheat {
                            let mut value = reveal.value.clone();
                            value.verdict = cheat.verdict(value.verdict);
                            reveal = Signed::new(&own, REVEAL, value);
                        }
                        outcome.reveal = Some(reveal.clone());
                        let request = Request::Canary(reveal);
                        if let Some(Ok(Answer::Canary(opening))) =
                            self.ask(&own.public(), &unit.worker, &request, &mut worker)
                        {
                            inputs.push_back(Input::Canary { unit: unit.clone(), opening });
                        }
                    }
                    Effect::Done { verdict, .. } => outcome.verdict = Some(verdict),
                    Effect::Demand { .. } => outcome.demanded = true,
                    Effect::Dispute { leaf, mine, .. } => outcome.dispute = Some((*leaf, *mine)),
                    Effect::Fault { account, kind, .. } => outcome.faults.push((account, kind)),
                }
            }
        }
        outcome.steps = now - start;
        if let Some(cheat) = &mut cheat {
            outcome.verdict = outcome.verdict.map(|verdict| cheat.verdict(verdict));
        }
        outcome
    }

    fn ask(
        &mut self,
        asker: &PublicKey,
        to: &PublicKey,
        request: &Request,
        worker: &mut Option<&mut dyn Attacker>,
    ) -> Option<Result<Answer, Refusal>> {
        if self.silent.contains(to) {
            return None;
        }
        if *to == self.up.public() {
            return Some(self.up_served.serve(asker, request));
        }
        if *to == self.down.public() {
            return Some(self.down_served.serve(asker, request));
        }
        let at = self.seat_of(to)?;
        let honest = self.seats[at].served.serve(asker, request);
        match worker {
            Some(worker) => worker.answer(request, honest),
            None => Some(honest),
        }
    }

    fn compute(
        &mut self,
        unit: &UnitId,
        beacon: &Hash,
        x: &Option<Vec<f32>>,
        dy: &Option<Vec<f32>>,
        own: &SecretKey,
        repeats: Option<PublicKey>,
    ) -> Option<Computed> {
        let work = Work {
            input: StageInput::Hidden(x.as_ref()?),
            target: Some(StageTarget::Grad(dy.as_ref()?)),
            probe: false,
        };
        let outputs = execute(unit, &self.weights, work, &mut self.workspace).ok()?;
        Some(Computed {
            digests: outputs.digests(&self.weights, work),
            trace: outputs.trace(beacon, &own.public(), unit),
            repeated_trace: repeats.map(|other| outputs.trace(beacon, &other, unit)),
        })
    }

    /// Close the step with `sum` over `microbatches`.
    pub fn close(&mut self, sum: &GradSum) {
        self.state.apply(sum, sum.microbatches()).unwrap();
        self.root = self.state.state_root();
        self.weights = self.state.snapshot();
        self.weights_root = tensors::weights_root(&self.weights);
        let step = self.step();
        self.seats.iter_mut().for_each(|seat| seat.served.advance(step));
        self.up_served.advance(step);
        self.down_served.advance(step);
    }
}

/// An honest seat.
pub struct Honest;
impl Attacker for Honest {
    fn row(&self) -> u8 {
        0
    }
    fn name(&self) -> &'static str {
        "honest"
    }
    fn cheats(&mut self) -> bool {
        false
    }
}

pub fn receipt(
    leaf: &UnitLeaf,
    from: &SecretKey,
    to: &SecretKey,
    label: [u8; 16],
    direction: Direction,
    digest: Hash,
) -> Receipt {
    let receipt = EdgeReceipt {
        run: leaf.unit.run,
        generation: leaf.unit.generation,
        step: leaf.unit.step,
        label,
        from: from.public(),
        to: to.public(),
        direction,
        digest,
    };
    let half = receipt.sent(from);
    receipt.received(half, to).unwrap()
}

fn boundary(
    spec: &RunSpec,
    data: &Dataset,
    stages: &[StageState],
    number: u32,
    workspace: &mut Workspace,
) -> Boundary {
    let batch = data.microbatch(spec, u64::from(number / 4), number % 4).unwrap();
    let x = stages[0].forward(StageInput::Tokens(&batch.tokens), workspace).unwrap();
    let y = stages[1].forward(StageInput::Hidden(&x), workspace).unwrap();
    let mut sum = GradSum::zero(stages[2].weights());
    let labels = StageTarget::Labels(&batch.labels);
    let out = stages[2].backward(StageInput::Hidden(&y), labels, workspace, &mut sum).unwrap();
    Boundary { x, dy: out.dx.unwrap() }
}
