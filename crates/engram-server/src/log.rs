//! Log lines on standard error: one JSON object a line (`timestamp`, `level`, `message`, fields), or text for reading.

use engram::config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

/// Starts logging as configured. Only the first call of a process has an effect.
pub fn init_log(config: &Log) {
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    if tracing::subscriber::set_global_default(subscriber(config.level, json, std::io::stderr)).is_err() {
        tracing::debug!("logging was started before");
    }
}

fn subscriber<W>(level: LogLevel, json: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = SubscriberBuilder::default().with_max_level(filter).with_target(false).with_writer(writer);
    if json {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
        Box::new(builder.finish())
    } else {
        Box::new(builder.with_ansi(std::io::stderr().is_terminal()).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_the_fields_at_its_top() {
        let lines = Lines::default();
        let own = lines.clone();
        tracing::subscriber::with_default(subscriber(LogLevel::Info, true, move || own.clone()), || {
            tracing::info!(operation = "recall", latency_ms = 12.5, "slow\noperation");
            tracing::debug!("not at this level");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "slow\noperation");
        assert_eq!(line["operation"], "recall");
        assert_eq!(line["latency_ms"], 12.5);
        assert!(engram::clock::parse_rfc3339(line["timestamp"].as_str().unwrap()).is_ok(), "{line}");
    }
}
