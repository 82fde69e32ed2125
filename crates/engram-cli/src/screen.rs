//! Standard output and standard error: the only module that writes to them. A reader that goes away ends the command
//! quietly. Colours and cutting to a width only on a terminal, and no colours where `NO_COLOR` is set.

use crate::fault::{Fault, Result};
use console::{Style, Term};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

/// Columns assumed where text is wrapped and there is no terminal to ask.
const COLUMNS_DEFAULT: usize = 80;
/// Below this nothing can be laid out; the terminal may wrap then.
const COLUMNS_MIN: usize = 40;

/// Standard output.
pub(crate) struct Screen {
    out: BufWriter<io::Stdout>,
    columns: Option<usize>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let columns =
            io::stdout().is_terminal().then(|| usize::from(Term::stdout().size().1).max(COLUMNS_MIN));
        Self { out: BufWriter::new(io::stdout()), columns }
    }

    /// Columns of the terminal; `None` where a program reads, which wants lines whole.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Columns for text that is laid out for people in any case.
    pub(crate) fn page_columns(&self) -> usize {
        self.columns.unwrap_or(COLUMNS_DEFAULT)
    }

    pub(crate) fn line(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.out, "{text}").map_err(write_fault)?;
        // A person sees each line when it is there; a program gets blocks.
        if self.columns.is_some() { self.flush() } else { Ok(()) }
    }

    /// `value` as JSON that people can read too.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).expect("wire types have text keys only");
        self.line(text)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(write_fault)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(write_fault)
    }
}

fn write_fault(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Fault::PipeClosed
    } else {
        Fault::Failed(format!("cannot write to standard output: {error}"))
    }
}

/// A line for people, beside the output. Where nobody can be told, nothing is lost that the exit code does not say.
pub(crate) fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Asks before something that cannot be undone. Where nobody can be asked, `--yes` must have been given.
pub(crate) fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Fault::Usage(format!("{question} Give --yes to do it without being asked.")));
    }
    write!(io::stderr(), "{question} [y/N] ").ok();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Fault::Failed(format!("cannot read the answer: {error}")))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Fault::Failed("nothing was done".into())),
    }
}

pub(crate) fn strong() -> Style {
    Style::new().bold()
}

pub(crate) fn faint() -> Style {
    Style::new().dim()
}

pub(crate) fn good() -> Style {
    Style::new().green()
}

pub(crate) fn bad() -> Style {
    Style::new().red().bold()
}

pub(crate) fn accent() -> Style {
    Style::new().cyan()
}

/// `text` on one line and without control characters, which could move the cursor or recolour the screen.
pub(crate) fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `text` on one line, cut to so many columns with an ellipsis; whole where there is no width.
pub(crate) fn fitted(text: &str, columns: Option<usize>) -> String {
    let line = one_line(text);
    match columns {
        Some(columns) => console::truncate_str(&line, columns.max(1), "…").into_owned(),
        None => line,
    }
}

/// 12345678 as `12,345,678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 memory`, `2 memories`, `1,234 memories`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `0.82` as `82 %`; less than a percent that is not nothing as `<1 %`.
pub(crate) fn percent(part: f32) -> String {
    if part > 0.0 && part < 0.01 { "<1 %".into() } else { format!("{:.0} %", part * 100.0) }
}

/// Bytes in the unit that fits.
pub(crate) fn sized(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A bar on standard error; nothing where that is no terminal.
pub(crate) fn progress(verb: &str, what: &str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = match total {
        Some(_) => {
            format!("{verb} {{wide_bar}} {{human_pos}}/{{human_len}} {what}, {{rate}}/s, {{eta}} left")
        }
        None => format!("{verb} {{spinner}} {{human_pos}} {what}, {{rate}}/s, {{elapsed}}"),
    };
    let style = ProgressStyle::with_template(&template).expect("the templates above are well-formed");
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        write!(text, "{}", grouped(state.per_sec() as u64)).expect("the bar is drawn into memory");
    };
    bar.set_style(style.progress_chars("━╸ ").with_key("rate", rate));
    bar
}

/// A bar of time on standard error, with what was said last; nothing where that is no terminal.
pub(crate) fn timed_progress(verb: &str, lasts: Duration) -> ProgressBar {
    let bar = ProgressBar::new(lasts.as_millis() as u64);
    let template = format!("{verb} {{wide_bar}} {{elapsed}} of {:.0} s, {{msg}}", lasts.as_secs_f64());
    let style = ProgressStyle::with_template(&template).expect("the template above is well-formed");
    bar.set_style(style.progress_chars("━╸ "));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_fit_for_a_line() {
        assert_eq!(one_line("a\n\tb\u{1b}[31m c "), "a b [31m c");
        assert_eq!(fitted("it rained in Bath", Some(9)), "it raine…");
        assert_eq!(fitted("雨が降った", Some(5)), "雨が…");
        assert_eq!(fitted("short", Some(9)), "short");
        assert_eq!(fitted("whole\nline", None), "whole line");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.004, 0.82, 1.0].map(percent), ["0 %", "<1 %", "82 %", "100 %"]);
        assert_eq!(
            [0, 999, 1000, 12_345, 999_999, 5_000_000_000].map(sized),
            ["0 B", "999 B", "1.0 kB", "12 kB", "1.0 MB", "5.0 GB"]
        );
        assert_eq!(counted(1, "memory", "memories"), "1 memory");
    }
}
