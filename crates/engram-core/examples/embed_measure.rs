//! How long the built-in embedder takes for the texts of a file, one a line:
//! `cargo run --release -p engram-core --example embed_measure -- memories.jsonl`. Prints the first call, which reads the
//! table, and the mean of the others in microseconds.

#![expect(clippy::disallowed_methods, reason = "core reads no clock; whoever measures it does")]
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use engram_core::embed::embed;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        std::env::args().nth(1).ok_or("which file? Give one with a text, or a memory as JSON, a line")?;
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let memory = serde_json::from_str::<serde_json::Value>(line).ok();
        let content = memory.as_ref().and_then(|memory| memory.get("content")?.as_str());
        texts.push(content.unwrap_or(line).to_string());
    }
    let watch = Instant::now();
    let known = usize::from(embed("first").is_some());
    let first = watch.elapsed();
    let watch = Instant::now();
    let known = known + texts.iter().filter(|text| embed(text).is_some()).count();
    let (taken, count) = (watch.elapsed(), texts.len().max(1));
    let bytes = texts.iter().map(String::len).sum::<usize>();
    println!("the first call took {:.1} ms", first.as_secs_f64() * 1e3);
    println!(
        "{count} texts of {} bytes on average: {:.1} us each, {} without a vector",
        bytes / count,
        taken.as_secs_f64() * 1e6 / count as f64,
        texts.len() + 1 - known
    );
    Ok(())
}
