//! A diary in a folder of its own, as a program would keep it: `cargo run --example embedded`. Stores a few memories
//! with their contexts, names and links, recalls some of them, and shows how each was reached.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use engram::clock::parse_rfc3339;
use engram::{
    Cue, Engine, Error, ErrorKind, Link, MemoryId, NewMemory, Options, RecallOptions, Recalled, RecalledPath,
    Result, Space, SpaceName, StoreOptions, Timestamp,
};
use std::sync::Arc;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // 1. Open. An engine owns a folder, and no second process can open it meanwhile. Here it is one that goes away.
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::new(folder.path()))?;

    // A space is an isolated set of memories. It comes into being with the first memory stored in it.
    let diary = engine.space_or_new(&SpaceName::new("diary")?)?;

    // 2. Store. All or none of a request is stored, and when `store` returns it is on disk and every recall sees it.
    let stored = diary.store(entries()?, &StoreOptions::default())?;
    println!("Stored {} memories.", stored.ids.len());

    // 3. Recall by words. `explain` asks for the ways that activation took.
    let explained = |limit| RecallOptions { limit, explain: true, ..RecallOptions::at(engine.now()) };
    ask(&diary, "where did the umbrella go", &explained(4))?;
    ask(&diary, "violin", &explained(4))?;

    // 4. Recall by what is in mind already, without a word: what is associated with the concert?
    let cue = Cue { ids: vec![MemoryId::new("concert")?], ..Cue::default() };
    println!("\nWhat comes to mind with \"concert\"?");
    show(&diary.recall(&cue, &explained(3))?);

    // 5. Storing the same again changes nothing, so a program that is not sure whether it stored may simply repeat.
    let again = diary.store(entries()?, &StoreOptions::default())?;
    println!("\nStored the same {} again: {} memories.", again.ids.len(), diary.summary().memories);

    // Another value under a known id is refused, unless it is meant to replace.
    let changed = NewMemory { content: Some("The sun shone in Bath.".into()), ..entries()?.swap_remove(0) };
    match diary.store(vec![changed], &StoreOptions::default()) {
        Err(error) if error.kind() == ErrorKind::Conflict => println!("Refused: {error}."),
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("a conflict was not noticed".into()),
    }

    // 6. Close and open again: everything is there. `close` only makes the next start quick; a crash loses nothing.
    engine.close()?;
    let engine = Engine::open(Options::new(folder.path()))?;
    let diary = engine.space(&SpaceName::new("diary")?)?;
    let summary = diary.summary();
    println!(
        "\nOpened again: {} memories, {} links, {} contexts, {} names.",
        summary.memories, summary.links, summary.contexts, summary.entities
    );
    ask(&diary, "rain", &RecallOptions { limit: 2, explain: true, ..RecallOptions::at(engine.now()) })?;
    engine.close()?;
    Ok(())
}

/// What the diary holds. Memories of one context follow one another by the time they happened; those that mention the
/// same name are associated without being told so; and links say what only the writer knows.
fn entries() -> Result<Vec<NewMemory>> {
    let entry = |id: &str, at: &str, context: &str, content: &str| -> Result<NewMemory> {
        Ok(NewMemory {
            id: Some(MemoryId::new(id)?),
            content: Some(content.into()),
            context: Some(context.into()),
            occurred_at: Some(time(at)?),
            ..NewMemory::default()
        })
    };
    let with_link = |memory: NewMemory, to: &str, kind: &str, weight: f32| -> Result<NewMemory> {
        let link = Link { to: MemoryId::new(to)?, kind: kind.into(), weight };
        Ok(NewMemory { links: Some(vec![link]), ..memory })
    };
    let with_names = |memory: NewMemory, names: &[&str]| NewMemory {
        entities: Some(names.iter().map(|name| name.to_string()).collect()),
        ..memory
    };
    Ok(vec![
        entry("rain", "2024-03-02T09:00:00Z", "Bath", "It rained in Bath, so I bought a red umbrella.")?,
        entry("baths", "2024-03-02T11:00:00Z", "Bath", "We saw the Roman baths with Clara.")?,
        // "found" is only stored further down: until then the link waits for it.
        with_link(
            entry("lost", "2024-03-02T17:00:00Z", "Bath", "I left the umbrella on the train.")?,
            "found",
            "resolved_by",
            1.0,
        )?,
        entry("concert", "2024-03-09T19:00:00Z", "music", "Clara took me to a concert in Bristol.")?,
        with_names(
            entry(
                "soloist",
                "2024-03-09T20:30:00Z",
                "music",
                "The soloist played the violin without a score.",
            )?,
            &["Nadia Okafor"],
        ),
        entry("dinner", "2024-03-09T23:00:00Z", "music", "We had soup at midnight.")?,
        entry(
            "interview",
            "2024-04-01T08:00:00Z",
            "radio",
            "Nadia Okafor said on the radio that she is self-taught.",
        )?,
        entry("lessons", "2024-04-02T18:00:00Z", "radio", "I asked for lessons on Tuesdays.")?,
        entry(
            "found",
            "2024-04-05T10:00:00Z",
            "post",
            "A parcel came from the railway's lost property office.",
        )?,
        with_link(
            entry("thanks", "2024-04-05T11:00:00Z", "post", "I wrote a card to thank them.")?,
            "found",
            "because",
            0.5,
        )?,
    ])
}

fn time(text: &str) -> Result<Timestamp> {
    parse_rfc3339(text).map_err(|problem| Error::new(ErrorKind::Invalid, problem))
}

fn ask(diary: &Arc<Space>, text: &str, options: &RecallOptions) -> Result<()> {
    println!("\n\"{text}\"?");
    show(&diary.recall(&Cue::text(text), options)?);
    Ok(())
}

/// Prints each hit with why it is there: because of its own words, or by the ways that activation took to it.
fn show(recalled: &Recalled) {
    for (rank, hit) in recalled.hits.iter().enumerate() {
        println!("  {}. {}", rank + 1, hit.memory.content.as_deref().unwrap_or("(a vector alone)"));
        if hit.parts.lexical > 0.0 {
            println!("       fits by its words: {:.2}", hit.parts.lexical);
        } else {
            hit.paths.iter().take(2).for_each(|path| println!("       {}", drawn(path)));
        }
    }
}

/// `rain --next--> baths (0.06)`: the memories on the way, what led from each to the next, and what came this way.
fn drawn(path: &RecalledPath) -> String {
    let steps = path.steps.iter().map(|step| match &step.via {
        None => step.memory.to_string(),
        Some(via) => format!(" --{via}--> {}", step.memory),
    });
    format!("{} ({:.2})", steps.collect::<String>(), path.share)
}
