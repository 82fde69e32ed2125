//! `engram test`: whether a running server does what it promises, in a space of its own that is gone afterwards.

use crate::backend::{Backend, is_not_found};
use crate::fault::{Fault, Result, failed};
use crate::remote::Remote;
use crate::screen::{Screen, bad, counted, faint, good};
use clap::Args;
use engram::clock::Stopwatch;
use engram_server::Problem;
use engram_server::api::{
    ActivateIn, ConditionIn, CountIn, CueIn, DeleteIn, FilterIn, LinkIn, ListQuery, MemoryIn, SeedIn,
    SpaceSettingsIn, StatusOut, StoreIn, StoreOut,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

/// Memories of the batch that the full test stores.
const BATCH: usize = 100;

/// Check that a running server works, in a space that is removed afterwards
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram test --quick
  engram test --url http://10.0.0.7:8080
  engram test --json

Exit codes: 0 all is well, 1 a check failed, 2 nobody answers.")]
pub(crate) struct Test {
    /// Store, recall, activate, delete and durability only
    #[arg(long)]
    quick: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Ask this server [env: ENGRAM_URL] [default: http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
}

/// A check: its name, and what it does.
type Check = (&'static str, fn(&Probe) -> Result<()>);

/// Later checks build on what earlier ones stored.
const QUICK: &[Check] = &[
    ("status", status),
    ("store", store),
    ("recall", recall),
    ("activate", activate),
    ("durability", durability),
    ("delete", delete),
];

/// Run before `delete`.
const FULL: &[Check] = &[
    ("batch", batch),
    ("idempotency", idempotency),
    ("conflict and replace", conflict),
    ("vectors refused", vectors),
    ("filter", filter),
    ("links and paths", paths),
    ("pages", pages),
    ("settings", settings),
    ("bad input", bad_input),
];

/// The outcome of a check.
#[derive(Serialize)]
struct Outcome {
    check: &'static str,
    ok: bool,
    took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A server and the space that the checks play in.
struct Probe {
    backend: Backend,
    remote: Remote,
    space: String,
}

impl Test {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let remote = Remote::new(self.url.as_deref())?;
        // Nobody there is one message, not a failure of each check.
        let _: Value = remote.get("spaces", &[])?;
        let space = format!("engram-test-{:016x}", RandomState::new().hash_one("space"));
        let probe = Probe { backend: Backend::Remote(Remote::new(self.url.as_deref())?), remote, space };
        let (last, first) = QUICK.split_last().expect("there are checks");
        let full = if self.quick { &[] } else { FULL };
        let mut outcomes = Vec::new();
        for (name, check) in
            first.iter().chain(full).chain([last]).chain(&[("remove the space", remove as fn(&Probe) -> _)])
        {
            let watch = Stopwatch::start();
            let why = match check(&probe) {
                Ok(()) => None,
                Err(fault @ Fault::Unreachable(_)) => return Err(fault),
                Err(fault) => Some(fault.verdict().0.unwrap_or_default().to_owned()),
            };
            let outcome =
                Outcome { check: name, ok: why.is_none(), took_ms: watch.elapsed().as_secs_f64() * 1e3, why };
            if !self.json {
                show(screen, &outcome)?;
            }
            outcomes.push(outcome);
        }
        let failures = outcomes.iter().filter(|outcome| !outcome.ok).count();
        if self.json {
            screen.json(&json!({"ok": failures == 0, "url": probe.remote.url(), "checks": outcomes}))?;
        } else {
            let checks = counted(outcomes.len() as u64, "check", "checks");
            let url = probe.remote.url();
            match failures {
                0 => screen.line(format_args!("{} {checks} at {url}", good().apply_to("all ok:")))?,
                _ => screen.line(format_args!("{} of {checks} failed at {url}", bad().apply_to(failures)))?,
            }
        }
        Ok(ExitCode::from(u8::from(failures > 0)))
    }
}

fn show(screen: &mut Screen, outcome: &Outcome) -> Result<()> {
    let verdict = if outcome.ok { good().apply_to("ok    ") } else { bad().apply_to("FAILED") };
    let took = faint().apply_to(format!("{:>8.1} ms", outcome.took_ms)).to_string();
    screen.line(format_args!("{verdict}  {:22}{took}", outcome.check))?;
    match &outcome.why {
        Some(why) => screen.line(format_args!("        {}", why.replace('\n', "\n        "))),
        None => Ok(()),
    }
}

impl Probe {
    fn store_all(&self, memories: Vec<MemoryIn>, replace: bool) -> Result<StoreOut> {
        self.backend.store(&self.space, StoreIn::many(memories, replace))
    }

    fn recalled(&self, cue: CueIn) -> Result<Vec<String>> {
        Ok(self.backend.recall(&self.space, cue)?.hits.into_iter().map(|hit| hit.memory.id).collect())
    }

    fn count(&self) -> Result<usize> {
        Ok(self.backend.count(&self.space, CountIn::default())?.count)
    }
}

fn memory(id: &str, content: &str) -> MemoryIn {
    MemoryIn { id: Some(id.into()), content: Some(content.into()), ..MemoryIn::default() }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { failed(otherwise()) }
}

fn status(probe: &Probe) -> Result<()> {
    let status: StatusOut = probe.remote.get("status", &[])?;
    ensure(status.ready, || format!("not ready: {}", status.reason.unwrap_or_default()))
}

fn store(probe: &Probe) -> Result<()> {
    let mut umbrella = memory("umbrella", "Ada forgot her umbrella on the train to Bath");
    umbrella.context = Some("trip".into());
    umbrella.metadata = serde_json::from_value(json!({"speaker": "Ada", "turn": 1})).ok();
    let mut cold = memory("cold", "The next day she caught a cold");
    cold.context = Some("trip".into());
    cold.links = Some(vec![LinkIn { to: "umbrella".into(), kind: "because".into(), weight: 0.9 }]);
    let stored =
        probe.store_all(vec![umbrella, cold, memory("bread", "Bread rises because of yeast")], false)?;
    ensure(stored.ids == ["umbrella", "cold", "bread"], || {
        format!("three ids were given, these came back: {:?}", stored.ids)
    })
}

fn recall(probe: &Probe) -> Result<()> {
    let hits = probe.recalled(CueIn::text("who lost an umbrella?"))?;
    ensure(hits.first().is_some_and(|id| id == "umbrella"), || {
        format!("umbrella should come first of {hits:?}")
    })
}

fn activate(probe: &Probe) -> Result<()> {
    let seeds = Some(vec![SeedIn { id: "cold".into(), activation: 1.0 }]);
    let activated = probe.backend.activate(&probe.space, ActivateIn { seeds, ..ActivateIn::default() })?;
    let ids: Vec<&str> = activated.activations.iter().map(|one| one.id.as_str()).collect();
    ensure(ids.contains(&"umbrella"), || {
        format!("activation of cold should reach umbrella, it reached {ids:?}")
    })
}

/// What a client can see of it: positions only grow, and what was acknowledged is read back as it was given.
fn durability(probe: &Probe) -> Result<()> {
    let before = probe.store_all(vec![memory("first", "The first of two writes")], false)?.position;
    let after = probe.store_all(vec![memory("second", "The second of two writes")], false)?.position;
    ensure(after > before, || format!("the position went from {before} to {after} with a write"))?;
    let read = probe.backend.get(&probe.space, "second")?.content;
    ensure(read.as_deref() == Some("The second of two writes"), || format!("read back {read:?}"))
}

fn delete(probe: &Probe) -> Result<()> {
    let ids = Some(vec!["umbrella".to_owned()]);
    let deleted = probe.backend.delete_matching(&probe.space, DeleteIn { ids, ..DeleteIn::default() })?;
    ensure(deleted.count == 1, || format!("one memory should be deleted, {} were", deleted.count))?;
    ensure(is_not_found(&probe.backend.get(&probe.space, "umbrella")), || {
        "a deleted memory is still read".into()
    })?;
    let hits = probe.recalled(CueIn::text("who lost an umbrella?"))?;
    ensure(!hits.contains(&"umbrella".to_owned()), || "a deleted memory is still recalled".into())
}

fn remove(probe: &Probe) -> Result<()> {
    probe.backend.delete_space(&probe.space)?;
    ensure(is_not_found(&probe.backend.space(&probe.space)), || "the space is still there".into())
}

fn batch(probe: &Probe) -> Result<()> {
    let before = probe.count()?;
    let memories =
        (0..BATCH).map(|i| memory(&format!("note{i}"), &format!("Note {i} about tides and ships"))).collect();
    probe.store_all(memories, false)?;
    let after = probe.count()?;
    ensure(after == before + BATCH, || format!("{before} memories and {BATCH} more are {after}"))
}

fn idempotency(probe: &Probe) -> Result<()> {
    let before = probe.count()?;
    probe.store_all(vec![memory("note0", "Note 0 about tides and ships")], false)?;
    let after = probe.count()?;
    ensure(after == before, || format!("storing the same again went from {before} to {after} memories"))
}

fn conflict(probe: &Probe) -> Result<()> {
    let other = || vec![memory("note0", "Another note 0")];
    match probe.store_all(other(), false) {
        Err(Fault::Refused(Problem::Conflict, _)) => {}
        Err(fault) => return Err(fault.at("a conflict was expected")),
        Ok(_) => return failed("other values for a stored id were taken without replace"),
    }
    probe.store_all(other(), true)?;
    let read = probe.backend.get(&probe.space, "note0")?.content;
    ensure(read.as_deref() == Some("Another note 0"), || format!("after a replace this is read: {read:?}"))
}

fn vectors(probe: &Probe) -> Result<()> {
    let mut foreign = memory("foreign", "A vector in a space of words");
    foreign.embedding = Some(vec![0.5, 0.5]);
    refused(probe.store_all(vec![foreign], false))
}

fn filter(probe: &Probe) -> Result<()> {
    let equals = |value: &str| FilterIn {
        must: vec![ConditionIn {
            field: "metadata.speaker".into(),
            equals: Some(value.into()),
            ..ConditionIn::default()
        }],
        ..FilterIn::default()
    };
    let asked = |value| CueIn { filter: Some(equals(value)), ..CueIn::text("umbrella") };
    let hits = probe.recalled(asked("Ada"))?;
    ensure(hits == ["umbrella"], || format!("only umbrella has speaker Ada, recalled was {hits:?}"))?;
    let hits = probe.recalled(asked("Bob"))?;
    ensure(hits.is_empty(), || format!("nothing has speaker Bob, recalled was {hits:?}"))
}

fn paths(probe: &Probe) -> Result<()> {
    let cue = CueIn { explain: Some(true), ..CueIn::text("umbrella on a train") };
    let recalled = probe.backend.recall(&probe.space, cue)?;
    let cold = recalled.hits.iter().find(|hit| hit.memory.id == "cold");
    let paths = cold
        .and_then(|hit| hit.paths.as_ref())
        .ok_or(Fault::Failed("cold, linked to umbrella, is no hit".into()))?;
    let starts_there =
        |path: &engram_server::api::PathOut| path.steps.first().is_some_and(|step| step.memory == "umbrella");
    ensure(paths.iter().any(starts_there), || "no path leads from umbrella to cold".into())
}

fn pages(probe: &Probe) -> Result<()> {
    let mut query = ListQuery { limit: Some(17), ..ListQuery::default() };
    let mut ids = Vec::new();
    loop {
        let page = probe.backend.list(&probe.space, &query)?;
        ids.extend(page.memories.into_iter().map(|memory| memory.id));
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    let listed = ids.len();
    ids.sort();
    ids.dedup();
    let count = probe.count()?;
    ensure(listed == count && ids.len() == count, || {
        format!("{listed} listed, {} of them different, of {count}", ids.len())
    })
}

fn settings(probe: &Probe) -> Result<()> {
    let space = probe.backend.space(&probe.space)?;
    let settings = SpaceSettingsIn { memories_max: Some(space.memories), ..SpaceSettingsIn::default() };
    probe.backend.put_space(&probe.space, settings)?;
    match probe.store_all(vec![memory("one-too-many", "One more than the space may hold")], false) {
        Ok(_) => failed("memories_max did not hold"),
        Err(Fault::Refused(..)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

fn bad_input(probe: &Probe) -> Result<()> {
    refused(probe.recalled(CueIn { limit: Some(0), ..CueIn::text("umbrella") }))?;
    refused(probe.store_all(vec![memory("blank", "  ")], false))?;
    let path = format!("spaces/{}/recall", probe.space);
    refused::<Value>(probe.remote.post(&path, &json!({"text": "umbrella", "limt": 3})))
}

/// Holds when the server called the request invalid.
fn refused<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Err(Fault::Refused(Problem::Invalid | Problem::Conflict, _)) => Ok(()),
        Err(fault) => Err(fault),
        Ok(_) => failed("what is invalid was taken"),
    }
}
