//! Agents that bring a list of packs into the colony, round by round: a council starts its analysts, hands each its share of
//! the packs, looks for conflicts, and commits what stands.
//!
//! | signal | from | to | meaning |
//! |---|---|---|---|
//! | question: packs (each three texts of a length byte and bytes) | council | analyst | analyse these |
//! | answer: 32 bytes for each pack, in order | analyst | council | the BLAKE3 of each, in its canonical form |
//!
//! An analyst ends after its answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use hdrhistogram::Histogram;
use queenright_actors::agent::{
    AgentAddress, AgentContext, AgentSpec, Behaviour, BehaviourError, RestartPolicy, Signal, Step,
};
use queenright_actors::queen::Request;
use queenright_protocol::colony::{
    Body, Content, ContentHash, Expected, Op, Outcome, Proposal, ProposalBatch, Read, Verdict, Write,
};
use queenright_protocol::conflict::{Batch, Policy, WriteClass, detect, resolve};
use serde::Deserialize;

/// How long an analyst, or a commit, may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most packs of a round.
const PACKS_MAX: usize = 1_000;

/// What a council is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CouncilArguments {
    project: Arc<str>,
    /// How many packs each round has, 1 to 1,000.
    packs: usize,
    /// How many rounds are measured.
    rounds: u64,
    /// How many it makes before.
    warm_up_rounds: u64,
}

/// Holds rounds. Reports `rounds`, `committed` (packs), `analysts` of a round, and what the parts of a round took: `build_ns`,
/// `spawn_ns`, `analyse_ns`, `judge_ns` (detect, resolve and validate), `commit_ns`, and `round_ns` in all.
pub struct Council {
    arguments: CouncilArguments,
}

/// A pack of the original: no two of a round have a name or a namespace in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pack {
    name: String,
    version: String,
    namespace: String,
}

/// What each part of one round took, in the order in which they are reported.
type Parts = [Duration; PARTS.len()];
const PARTS: [&str; 6] = [
    "build_ns",
    "spawn_ns",
    "analyse_ns",
    "judge_ns",
    "commit_ns",
    "round_ns",
];

impl Council {
    pub(super) fn new(arguments: CouncilArguments) -> Result<Council, BehaviourError> {
        match (1..=PACKS_MAX).contains(&arguments.packs) {
            true => Ok(Council { arguments }),
            false => Err(failed(format!("packs = {} is not 1 to {PACKS_MAX}", arguments.packs))),
        }
    }

    async fn work(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let CouncilArguments {
            packs,
            rounds,
            warm_up_rounds,
            ..
        } = self.arguments;
        let mut parts: [Histogram<u64>; PARTS.len()] = std::array::from_fn(|_| super::histogram());
        for round in 0..warm_up_rounds + rounds {
            let took = self.round(context, round).await?;
            if round >= warm_up_rounds {
                for (part, took) in parts.iter_mut().zip(took) {
                    part.saturating_record((took.as_nanos() as u64).max(1));
                }
            }
        }
        context.report("rounds", rounds);
        context.report("committed", rounds * packs as u64);
        context.report("analysts", analysts(packs) as u64);
        for (name, part) in PARTS.into_iter().zip(&parts) {
            context.report(name, super::to_report(part));
        }
        Ok(Step::Done)
    }

    /// One round, from an empty hand to the acknowledged commit.
    async fn round(&self, context: &AgentContext, round: u64) -> Result<Parts, BehaviourError> {
        let begun = Instant::now();
        let packs = packs(self.arguments.packs);
        let built = Instant::now();
        let analysts = spawn(context, round, analysts(packs.len())).await?;
        let spawned = Instant::now();
        let hashes = analyse(context, &analysts, &packs).await?;
        let analysed = Instant::now();
        judge(&packs, &hashes)?;
        let judged = Instant::now();
        self.commit(context, &packs, &hashes).await?;
        let committed = Instant::now();
        Ok([
            built - begun,
            spawned - built,
            analysed - spawned,
            judged - analysed,
            committed - judged,
            committed - begun,
        ])
    }

    /// Commits each pack by a proposal of its own, all judged together; none may lose.
    async fn commit(
        &self,
        context: &AgentContext,
        packs: &[Pack],
        hashes: &[ContentHash],
    ) -> Result<(), BehaviourError> {
        let proposals = {
            let snapshot = context.replica().snapshot();
            let memory = snapshot
                .colony
                .project(&self.arguments.project)
                .map(|project| project.memory());
            let revision = |key: &str| memory.map_or(0, |memory| memory.revision(key));
            let proposal = |(pack, hash): (&Pack, &ContentHash)| {
                let key = Arc::<str>::from(format!("{}/pack/{}", context.name(), pack.name));
                Proposal {
                    reads: vec![Read {
                        revision: revision(&key),
                        key: key.clone(),
                        content: Expected::Any,
                    }],
                    writes: vec![
                        write(key, hash.0.to_vec()),
                        write(
                            format!("{}/namespace/{}", context.name(), pack.namespace).into(),
                            pack.name.clone().into_bytes(),
                        ),
                    ],
                    ..Proposal::default()
                }
            };
            packs.iter().zip(hashes).map(proposal).collect()
        };
        let request = Request {
            project: self.arguments.project.clone(),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::ProposeBatch(ProposalBatch {
                proposals,
                policy: Policy::First,
            }),
        };
        match context.submit(request, DEADLINE).await {
            Ok(Outcome::Judged { verdicts, pairs: 0, .. })
                if verdicts.len() == packs.len()
                    && verdicts
                        .iter()
                        .all(|verdict| matches!(verdict, Verdict::Committed { .. })) =>
            {
                Ok(())
            }
            other => Err(failed(format!(
                "{} packs without conflicts were answered by {other:?}",
                packs.len()
            ))),
        }
    }
}

/// How many agents the original makes for so many packs.
fn analysts(packs: usize) -> usize {
    4 + usize::from(packs > 3) + usize::from(packs > 5)
}

fn packs(count: usize) -> Vec<Pack> {
    let pack = |number| Pack {
        name: format!("pack-{number}"),
        version: "1.0.0".to_owned(),
        namespace: format!("ns-{number}"),
    };
    (0..count).map(pack).collect()
}

async fn spawn(context: &AgentContext, round: u64, count: usize) -> Result<Vec<AgentAddress>, BehaviourError> {
    let spawned = (0..count).map(async |number| {
        let spec = AgentSpec {
            name: format!("{}.{round}.{number}", context.name()),
            kind: "load-analyst".to_owned(),
            restart: RestartPolicy::never(),
            parent: Some(context.name().to_owned()),
            ..AgentSpec::default()
        };
        let status = context.spawn(spec).await.map_err(failed)?;
        Ok(AgentAddress {
            node: context.address().node,
            number: status.number,
            generation: status.generation,
        })
    });
    join_all(spawned).await.into_iter().collect()
}

/// Hands every analyst its share, in turn; the hash of each pack, in the order of the packs.
async fn analyse(
    context: &AgentContext,
    analysts: &[AgentAddress],
    packs: &[Pack],
) -> Result<Vec<ContentHash>, BehaviourError> {
    let asked = analysts.iter().enumerate().map(async |(place, analyst)| {
        let share = packs.iter().skip(place).step_by(analysts.len());
        let question: Vec<u8> = share.flat_map(encode).collect();
        context.ask(*analyst, &question, DEADLINE).await.map_err(failed)
    });
    let answers: Vec<_> = join_all(asked).await.into_iter().collect::<Result<_, _>>()?;
    let hash = |place: usize| {
        let answer = &answers[place % analysts.len()];
        let hash = answer.chunks_exact(32).nth(place / analysts.len());
        let hash = hash.and_then(|hash| hash.try_into().ok()).map(ContentHash);
        hash.ok_or_else(|| failed(format!("no analyst has answered for pack {place}")))
    };
    (0..packs.len()).map(hash).collect()
}

/// Detects and resolves conflicts by name and namespace, and validates what is left: all of it, each pack as it was analysed.
fn judge(packs: &[Pack], hashes: &[ContentHash]) -> Result<(), BehaviourError> {
    let mut batch = Batch::new();
    for pack in packs {
        let keys = [format!("pack/{}", pack.name), format!("namespace/{}", pack.namespace)];
        batch.push(0, [], keys.iter().map(|key| (key.as_bytes(), WriteClass::Exclusive)));
    }
    let detection = detect(&batch);
    let lost = resolve(Policy::First, &detection).lost();
    if lost > 0 || detection.counts().total() > 0 {
        return Err(failed(format!("{lost} packs that have no conflicts have lost")));
    }
    let names: BTreeSet<&str> = packs.iter().map(|pack| &*pack.name).collect();
    let valid = |(pack, hash): (&Pack, &ContentHash)| check(pack) && canonical(pack) == *hash;
    match names.len() == packs.len() && packs.iter().zip(hashes).all(valid) {
        true => Ok(()),
        false => Err(failed("a pack is not as it was analysed")),
    }
}

fn write(key: Arc<str>, value: Vec<u8>) -> Write {
    Write {
        key,
        op: Op::Put(Content::Inline(value.into())),
        tags: Vec::new(),
        before: None,
    }
}

/// Whether a pack has a name, a namespace and a version of three numbers.
fn check(pack: &Pack) -> bool {
    let numbers: Vec<&str> = pack.version.split('.').collect();
    let is_version = numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    is_version && !pack.name.is_empty() && !pack.namespace.is_empty()
}

fn canonical(pack: &Pack) -> ContentHash {
    ContentHash::of(&encode(pack).collect::<Vec<u8>>())
}

fn encode(pack: &Pack) -> impl Iterator<Item = u8> {
    let texts = [&pack.name, &pack.version, &pack.namespace];
    texts.into_iter().flat_map(|text| {
        let bytes = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
        std::iter::once(bytes.len() as u8).chain(bytes.iter().copied())
    })
}

/// The packs of a question; `None` for bytes that are none.
fn decode(mut bytes: &[u8]) -> Option<Vec<Pack>> {
    let mut packs = Vec::new();
    while !bytes.is_empty() {
        let mut text = || {
            let (length, rest) = bytes.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            bytes = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        packs.push(Pack {
            name: text()?,
            version: text()?,
            namespace: text()?,
        });
    }
    Some(packs)
}

fn failed(error: impl std::fmt::Display) -> BehaviourError {
    BehaviourError(error.to_string())
}

impl Behaviour for Council {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

/// Analyses the packs that it is asked about, once.
pub struct Analyst;

impl Behaviour for Analyst {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Some(question) = signals.first() else {
            return Ok(Step::Wait);
        };
        let packs = decode(&question.payload).ok_or_else(|| failed("a question is not a list of packs"))?;
        if let Some(bad) = packs.iter().find(|pack| !check(pack)) {
            return Err(failed(format!("{bad:?} is no good pack")));
        }
        let answer: Vec<u8> = packs.iter().flat_map(|pack| canonical(pack).0).collect();
        context.answer(question, &answer).map_err(failed)?;
        Ok(Step::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::{analysts, canonical, decode, encode, judge, packs};

    #[test]
    fn packs_travel_and_bytes_that_are_none_are_refused() {
        let packs = packs(12);
        let bytes: Vec<u8> = packs.iter().flat_map(encode).collect();
        assert_eq!(decode(&bytes).as_ref(), Some(&packs));
        for end in 1..bytes.len() {
            // A cut between two packs leaves a shorter list.
            assert!(decode(&bytes[..end]).is_none_or(|shorter| packs.starts_with(&shorter)));
        }
        assert_eq!(decode(&[1, 0xff, 1, b'a', 1, b'b']), None);
    }

    #[test]
    fn packs_that_have_something_in_common_or_were_analysed_otherwise_do_not_pass() {
        let mut packs = packs(6);
        let mut hashes: Vec<_> = packs.iter().map(canonical).collect();
        assert!(judge(&packs, &hashes).is_ok());
        hashes.swap(0, 1);
        assert!(judge(&packs, &hashes).is_err());
        packs[5].namespace = "ns-0".to_owned();
        let hashes: Vec<_> = packs.iter().map(canonical).collect();
        assert!(judge(&packs, &hashes).is_err());
    }

    #[test]
    fn there_are_as_many_analysts_as_the_original_has_agents() {
        assert_eq!([1, 3, 4, 5, 10, 50].map(analysts), [4, 4, 5, 5, 6, 6]);
    }
}
