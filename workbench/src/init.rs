//! `tapdoor init`: a working set of configuration and keys in a folder.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tapdoor_protocol::vault::VaultError;

use crate::site::Site;

/// Why no files were made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file is there already; nothing was written.
    #[error("{} is there already, and `init` overwrites nothing: name another folder, or move the file away", .0.display())]
    Exists(PathBuf),
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] VaultError),
}

/// Makes lock.toml, server.toml, phone.toml and, for more phones, phone-2.toml and so on. They hold keys, so only their owner may read them.
///
/// # Errors
/// [`InitError`]; files that were there are left as they are.
pub fn init(folder: &Path, phones: usize, usim: bool) -> Result<Vec<PathBuf>, InitError> {
    let site = Site::generate(phones.max(1), usim)?;
    let mut files = vec![
        ("lock.toml".to_owned(), site.lock_toml()),
        ("server.toml".to_owned(), site.server_toml()),
    ];
    for index in 0..phones.max(1) {
        let stem = if index == 0 {
            "phone".to_owned()
        } else {
            format!("phone-{}", index + 1)
        };
        if let Some(text) = site.phone_toml(index, &format!("{stem}.chip")) {
            files.push((format!("{stem}.toml"), text));
        }
    }
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InitError::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    // A chip of another site beside new keys would only confuse.
    let chips = paths.iter().map(|p| p.with_extension("chip"));
    if let Some(path) = paths.iter().cloned().chain(chips).find(|p| p.exists()) {
        return Err(InitError::Exists(path));
    }
    for (path, (_, text)) in paths.iter().zip(&files) {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(io(path))?;
        file.write_all(text.as_bytes()).map_err(io(path))?;
    }
    Ok(paths)
}
