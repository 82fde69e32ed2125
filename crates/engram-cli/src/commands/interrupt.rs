//! Ctrl-C while something long is done: the first asks for an orderly stop, the second stops at once.

use crate::fault::{Fault, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a program that SIGINT stopped, as shells count.
const EXIT_CODE: i32 = 130;

/// Whether somebody wants this to stop.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // This order: at the first signal the flag is still false when the shutdown looks at it.
            signal_hook::flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(&asked))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| Fault::Failed(format!("cannot listen for Ctrl-C: {error}")))?;
        }
        Ok(Self(asked))
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
