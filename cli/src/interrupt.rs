//! What Ctrl-C ends: the command that runs, and in a shell only that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapdoor_link::stop::Stop;

use crate::failure::INTERRUPTED;

#[derive(Default)]
struct State {
    running: Option<Stop>,
    /// The process outlives its commands.
    shell: bool,
}

/// Who is stopped when a signal comes.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<State>>);

impl Interrupt {
    /// Listens to signals from now on.
    pub fn install() -> Self {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        let _ = ctrlc::set_handler(move || handler.signal());
        interrupt
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command begins.
    pub fn begin(&self) -> Stop {
        let stop = Stop::new();
        self.lock().running = Some(stop.clone());
        stop
    }

    /// It has ended.
    pub fn end(&self) {
        self.lock().running = None;
    }

    /// From now on commands come and go.
    pub fn become_shell(&self) {
        self.lock().shell = true;
    }

    /// The first signal ends waits and loops; the second ends the program where it stands, unless it is a shell.
    fn signal(&self) {
        let state = self.lock();
        match &state.running {
            Some(stop) if !stop.is_stopped() => {
                let stop = stop.clone();
                drop(state);
                stop.stop();
            }
            Some(_) if state.shell => {}
            Some(_) => std::process::exit(INTERRUPTED.into()),
            None => {
                // A shell that waits for a line: at a terminal Ctrl-C is a key, so this is a request to end.
                restore_terminal();
                std::process::exit(INTERRUPTED.into());
            }
        }
    }
}

/// The line editor has the terminal in its own mode while it waits.
fn restore_terminal() {
    use std::io::IsTerminal;
    if cfg!(unix) && std::io::stdin().is_terminal() {
        let _ = std::process::Command::new("stty").arg("sane").status();
    }
}
