//! The lines of before: `$XDG_STATE_HOME/tapdoor/history`, readable by their owner only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Editor, Helper};

/// Where they are; `None` where there is no home.
pub fn file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        // The specification wants relative ones ignored.
        .filter(|path| path.is_absolute());
    let state = state.or_else(|| {
        let home = std::env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?;
        Some(PathBuf::from(home).join(".local").join("state"))
    })?;
    Some(state.join("tapdoor").join("history"))
}

/// Reads them, if there are any.
pub fn load(editor: &mut Editor<impl Helper, DefaultHistory>, path: &Path) -> Result<(), ReadlineError> {
    match editor.load_history(path) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes the newest one, so that shells side by side keep each other's.
pub fn append(editor: &mut Editor<impl Helper, DefaultHistory>, path: &Path) -> Result<(), ReadlineError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    editor.append_history(path)?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}
