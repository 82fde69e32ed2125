//! Style that a machine can check, over every file that is committed or would be. Each failure says where, and what to
//! do. A rule that cannot be kept in one place gets an entry in a list here, with its reason; entries that are not
//! needed any more fail, too.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates, and the crates of ours that each may depend on. Arrows point one way.
const CRATES: &[(&str, &[&str])] = &[
    ("engram", &["engram-core", "engram-storage"]),
    ("engram-cli", &["engram", "engram-server"]),
    ("engram-core", &[]),
    ("engram-server", &["engram"]),
    ("engram-sim", &["engram", "engram-core", "engram-storage"]),
    ("engram-storage", &[]),
];

/// Files in which code may be unsafe: SIMD, memory maps, the platform's own calls, and a lock.
const UNSAFE_FILES: &[&str] = &["kernels.rs", "x86.rs", "arm.rs", "mapped.rs", "platform.rs", "sharded.rs"];

const LINES_MAX: usize = 1000;
/// Files with more lines of code than that, tests at their end left out.
const LONG_FILES: &[&str] = &[];

const FUNCTION_LINES_MAX: usize = 70;
/// Functions with more lines than that, as `path function`. A table that reads best in one piece may stand here.
const LONG_FUNCTIONS: &[&str] = &[];

const MARKDOWN_FILES_MAX: usize = 12;

/// Text for which the rules on words do not hold: others' licences, and the two files that name the words.
const FREE_TEXT: &[&str] =
    &["LICENSE", "STYLE.md", "Cargo.lock", "crates/engram-cli/data/WORDNET-LICENSE.txt", TIDY];
const TIDY: &str = "crates/engram-cli/tests/tidy.rs";

/// Words for unfinished work and for praise, and whether case matters.
const BANNED_WORDS: &[(&str, bool)] = &[
    ("for now", false),
    ("placeholder", false),
    ("production-ready", false),
    ("dummy", false),
    ("TODO", true),
    ("FIXME", true),
    ("XXX", true),
];

/// Folders of one machine that no file should know.
const MACHINE_PATHS: &[&str] = &["/work/", "/root/", "/home/"];

/// A file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Part of the product, rather than tests, examples and benches.
    fn is_product(&self) -> bool {
        self.is_rust() && self.path.contains("/src/") && !self.path.ends_with("/tests.rs")
    }

    /// Its lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The lines before the unit tests, which end a file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut before = "";
        self.lines().take_while(move |(_, line)| {
            let tests = before == "#[cfg(test)]" && line.starts_with("mod ") && line.ends_with('{');
            before = line;
            !tests
        })
    }

    fn stem(&self) -> &str {
        Path::new(&self.path).file_stem().unwrap().to_str().unwrap()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Paths of all files that git knows or would add.
fn paths() -> Vec<String> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let listed = String::from_utf8(listing.stdout).unwrap();
    // A file that was deleted but not yet committed is listed still.
    listed.split_terminator('\0').filter(|path| root().join(path).is_file()).map(str::to_string).collect()
}

/// All files that are text. None outside of a git checkout: what is there is what was checked before it was packed.
fn sources() -> Vec<Source> {
    if !root().join(".git").exists() {
        return vec![];
    }
    let read = |path: String| Some(Source { text: fs::read_to_string(root().join(&path)).ok()?, path });
    let sources: Vec<Source> = paths().into_iter().filter_map(read).collect();
    assert!(sources.iter().any(|source| source.path == TIDY), "git lists this file");
    sources
}

fn assert_none(rule: &str, failures: impl IntoIterator<Item = String>) {
    let failures: Vec<String> = failures.into_iter().collect();
    assert!(failures.is_empty(), "\n{rule}\n{}\n", failures.join("\n"));
}

/// Whether `word` stands in `line` with no letter, digit or underscore next to it.
fn has_word(line: &str, word: &str) -> bool {
    let bounded = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    line.match_indices(word).any(|(at, _)| {
        bounded(line[..at].chars().next_back()) && bounded(line[at + word.len()..].chars().next())
    })
}

#[test]
fn every_file_of_rust_opens_with_its_purpose() {
    let without = sources().into_iter().filter(|s| s.is_rust() && !s.text.starts_with("//! "));
    assert_none(
        "Open the file with `//! ` and what it owns, what always holds, how it fails.",
        without.map(|source| format!("{}:1", source.path)),
    );
}

#[test]
fn every_module_is_reached() {
    let sources = sources();
    let declares = |path: &str, module: &str| {
        let declaration = format!("mod {module};");
        let parent = sources.iter().find(|source| source.path == path);
        parent.is_some_and(|parent| parent.text.lines().any(|line| line.trim_start().ends_with(&declaration)))
    };
    let is_reached = |source: &Source| {
        let (folder, _) = source.path.rsplit_once('/').unwrap();
        let module = source.stem();
        if folder.ends_with("/src") {
            return ["lib", "main"].contains(&module)
                || declares(&format!("{folder}/lib.rs"), module)
                || declares(&format!("{folder}/main.rs"), module);
        }
        folder.ends_with("/src/bin") || declares(&format!("{folder}.rs"), module)
    };
    let unreached =
        sources.iter().filter(|s| s.is_rust() && s.path.contains("/src/")).filter(|s| !is_reached(s));
    assert_none(
        "Declare the module in the file named like its folder, or delete it (and name no file mod.rs).",
        unreached.map(|source| format!("{}:1", source.path)),
    );
}

#[test]
fn no_file_is_a_leftover() {
    let is_leftover = |source: &&Source| {
        let stem = source.stem();
        [".bak", ".orig", ".rej", ".old", "~"].iter().any(|end| source.path.ends_with(end))
            || ["_old", "_new", "_v2", "_backup", "_copy"].iter().any(|end| stem.ends_with(end))
    };
    let sources = sources();
    assert_none(
        "Delete the file, or merge it into the one it is a version of; git remembers.",
        sources.iter().filter(is_leftover).map(|source| format!("{}:1", source.path)),
    );
}

#[test]
fn files_are_short_enough_to_know() {
    let sources = sources();
    let long: Vec<(&str, usize)> = sources
        .iter()
        .filter(|source| source.is_product())
        .map(|source| (source.path.as_str(), source.code().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    let fresh = long.iter().filter(|(path, _)| !LONG_FILES.contains(path));
    assert_none(
        "Split the file by what its parts own.",
        fresh.map(|(path, lines)| format!("{path}:{LINES_MAX}: {lines} lines, at most {LINES_MAX}")),
    );
    let stale = LONG_FILES.iter().filter(|path| !long.iter().any(|(own, _)| own == *path));
    assert_none("Take these out of LONG_FILES in tidy.rs.", stale.map(|path| path.to_string()));
}

#[test]
fn functions_fit_a_screen() {
    let sources = sources();
    if sources.is_empty() {
        return;
    }
    let mut long: Vec<(String, String)> = Vec::new();
    for source in sources.iter().filter(|source| source.is_product()) {
        for (line, name, lines) in functions(source) {
            if lines > FUNCTION_LINES_MAX {
                let place = format!("{}:{line}: {name} has {lines} lines", source.path);
                long.push((format!("{} {name}", source.path), place));
            }
        }
    }
    let fresh = long.iter().filter(|(name, _)| !LONG_FUNCTIONS.contains(&name.as_str()));
    assert_none(
        "Let the parent branch and its children compute: at most 70 lines a function.",
        fresh.map(|(_, place)| place.clone()),
    );
    let stale = LONG_FUNCTIONS.iter().filter(|entry| !long.iter().any(|(name, _)| name == *entry));
    assert_none("Take these out of LONG_FUNCTIONS in tidy.rs.", stale.map(|entry| entry.to_string()));
}

/// The functions of a file's code that have a body: first line, name, number of lines. As rustfmt lays them out, a
/// function ends at the first brace of its own indent.
fn functions(source: &Source) -> Vec<(usize, String, usize)> {
    let lines: Vec<(usize, &str)> = source.code().collect();
    let mut found = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |(_, line): &&(usize, &str)| {
            line.strip_prefix(indent).is_some_and(|rest| {
                rest.starts_with('}') || (!rest.starts_with([' ', '/']) && rest.ends_with([';', '}']))
            })
        };
        let length = lines[at..].iter().position(|line| ends(&line)).map_or(lines.len() - at, |end| end + 1);
        found.push((*number, name.to_string(), length));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_qualifier = |word: &str| {
        ["const", "async", "unsafe", "extern", "\"C\"", "pub"].contains(&word) || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    after.split(['(', '<']).next()
}

#[test]
fn words_are_finished_and_sober() {
    let sources = sources();
    let mut failures = Vec::new();
    for source in sources.iter().filter(|source| !FREE_TEXT.contains(&source.path.as_str())) {
        for (number, line) in source.lines() {
            let lower = line.to_lowercase();
            let found = BANNED_WORDS
                .iter()
                .filter(|(word, exact)| if *exact { has_word(line, word) } else { has_word(&lower, word) });
            failures.extend(found.map(|(word, _)| format!("{}:{number}: \"{word}\"", source.path)));
        }
    }
    assert_none("Finish it, file an issue, or say what is there instead.", failures);
}

#[test]
fn no_file_knows_a_machine() {
    let sources = sources();
    let mut failures = Vec::new();
    for source in sources.iter().filter(|source| source.path != TIDY) {
        for (number, line) in source.lines() {
            let found = MACHINE_PATHS.iter().filter(|path| line.contains(**path));
            failures.extend(found.map(|path| format!("{}:{number}: \"{path}\"", source.path)));
        }
    }
    assert_none("Say it relative to the repository, or as ~ or a variable.", failures);
}

#[test]
fn documents_are_few() {
    let sources = sources();
    let documents: Vec<&str> =
        sources.iter().map(|s| s.path.as_str()).filter(|p| p.ends_with(".md")).collect();
    assert!(
        documents.len() <= MARKDOWN_FILES_MAX,
        "{} files of Markdown, at most {MARKDOWN_FILES_MAX}: merge or delete some of {documents:#?}",
        documents.len()
    );
}

#[test]
fn only_named_files_are_unsafe() {
    let sources = sources();
    let mut failures = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.path != TIDY) {
        if UNSAFE_FILES.contains(&source.path.rsplit('/').next().unwrap()) {
            continue;
        }
        let unsafe_lines = source.lines().filter(|(_, line)| {
            let code = line.split("//").next().unwrap();
            has_word(code, "unsafe")
                || ["allow(unsafe_code", "expect(unsafe_code"].iter().any(|a| code.contains(a))
        });
        failures.extend(unsafe_lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    assert_none("Move it to kernels.rs, mapped.rs or platform.rs, or do without.", failures);
}

#[test]
fn rules_are_kept_rather_than_silenced() {
    let sources = sources();
    let mut failures = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.path != TIDY) {
        let code_lines = if source.is_product() { source.code().count() } else { 0 };
        for (number, line) in source.lines() {
            let code = line.split("//").next().unwrap();
            let found = [
                (code.contains("#[allow(") || code.contains("#![allow("), "expect the lint, with a reason"),
                (code.contains("#[ignore"), "run the test or delete it"),
                (
                    number > code_lines && code.contains("sleep("),
                    "wait for what the test is about, not for time",
                ),
            ];
            let found = found.into_iter().filter(|(broken, _)| *broken);
            failures.extend(found.map(|(_, advice)| format!("{}:{number}: {advice}", source.path)));
        }
    }
    for source in sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        let features = source.lines().filter(|(_, line)| line.starts_with("[features]"));
        failures.extend(features.map(|(number, _)| format!("{}:{number}: build it one way", source.path)));
    }
    assert_none("Do as STYLE.md says:", failures);
}

/// A line of a manifest that adds a dependency.
struct Dependency {
    place: String,
    name: String,
    /// The entry as written, over all its lines.
    entry: String,
}

/// The dependencies of a manifest, of all kinds.
fn dependencies(manifest: &Source) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    let mut inside = false;
    for (number, line) in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
            continue;
        }
        if !inside || line.trim().is_empty() {
            continue;
        }
        let key = line.split(['=', '.']).next().unwrap().trim();
        if line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let place = format!("{}:{number}", manifest.path);
            found.push(Dependency { place, name: key.into(), entry: line.into() });
        } else if let Some(last) = found.last_mut() {
            last.entry += line;
        }
    }
    found
}

#[test]
fn crates_are_the_known_ones_and_depend_one_way() {
    let sources = sources();
    if sources.is_empty() {
        return;
    }
    let manifests: Vec<&Source> =
        sources.iter().filter(|s| s.path.starts_with("crates/") && s.path.ends_with("/Cargo.toml")).collect();
    let names: BTreeSet<&str> = manifests.iter().map(|s| s.path.split('/').nth(1).unwrap()).collect();
    let known: BTreeSet<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "a crate defends a boundary: say it in ARCHITECTURE.md, and name it in tidy.rs");
    let mut failures = Vec::new();
    for manifest in manifests {
        let name = manifest.path.split('/').nth(1).unwrap();
        assert!(
            manifest.text.contains(&format!("\nname = \"{name}\"")),
            "{}: folder and crate differ",
            manifest.path
        );
        let (_, allowed) = CRATES.iter().find(|(own, _)| *own == name).unwrap();
        let wrong = dependencies(manifest).into_iter().filter(|dependency| {
            known.contains(dependency.name.as_str()) && !allowed.contains(&dependency.name.as_str())
        });
        failures
            .extend(wrong.map(|dependency| format!("{}: {} -> {}", dependency.place, name, dependency.name)));
    }
    assert_none("Turn the dependency round; ARCHITECTURE.md says who knows whom.", failures);
}

#[test]
fn every_dependency_says_what_it_saves() {
    let sources = sources();
    let manifests = sources.iter().filter(|source| source.path.ends_with("Cargo.toml"));
    let entries = manifests.flat_map(dependencies);
    let is_ours = |dependency: &Dependency| CRATES.iter().any(|(name, _)| *name == dependency.name);
    let has_comment = |entry: &str| entry.split_once('#').is_some_and(|(_, reason)| reason.trim().len() > 3);
    let silent = entries.filter(|dependency| !is_ours(dependency) && !has_comment(&dependency.entry));
    assert_none(
        "Say behind the dependency, after a #, what it saves us.",
        silent.map(|dependency| format!("{}: {}", dependency.place, dependency.name)),
    );
}

#[test]
fn the_scanners_see_what_they_are_for() {
    let text = "//! A file.\n\npub fn one() {}\n\nimpl T {\n    fn two(\n        &self,\n    ) -> u8 {\n        2\n    }\n\n    \
        fn three(&self);\n}\n\n#[cfg(test)]\nmod tests {\n    fn four() {\n    }\n}\n";
    let source = Source { path: "crates/x/src/y.rs".into(), text: text.into() };
    let found: Vec<String> =
        functions(&source).iter().map(|(line, name, lines)| format!("{line} {name} {lines}")).collect();
    assert_eq!(found, ["3 one 1", "6 two 5", "12 three 1"]);
    assert!(has_word("it is for now.", "for now") && !has_word("therefor nowhere", "for now"));
    let text =
        "[package]\nname = \"x\"\n\n[dev-dependencies]\na = \"1\" # why\nb = { features = [\n  \"c\",\n] }\n";
    let manifest = Source { path: "Cargo.toml".into(), text: text.into() };
    let found: Vec<String> =
        dependencies(&manifest).into_iter().map(|d| format!("{} {}", d.place, d.entry)).collect();
    assert_eq!(found, ["Cargo.toml:5 a = \"1\" # why", "Cargo.toml:6 b = { features = [  \"c\",] }"]);
}
