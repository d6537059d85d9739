//! `tapdoor init`: a working set of configuration and keys in a folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tapdoor_protocol::vault::VaultError;
use tapdoor_server::ca::{self, CaError};

use crate::site::Site;

/// Names and addresses in the certificate of the server: those of this machine for itself.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

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
    /// No certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct InitOptions {
    /// How many phones; at least one is made.
    pub phones: usize,
    /// A test USIM too.
    pub usim: bool,
    /// Phones without applications: the first tap downloads.
    pub bare_phone: bool,
}

/// A file to be written.
struct NewFile {
    name: String,
    content: Vec<u8>,
    /// Readable by its owner only.
    secret: bool,
}

/// Makes lock.toml, server.toml, phone.toml and, for more phones, phone-2.toml and so on; the certificates of the server, and the applications it
/// sends. Files that hold keys can be read by their owner only. Either all files are made or none.
///
/// # Errors
/// [`InitError`]; files that were there are left as they are.
pub fn init(folder: &Path, options: InitOptions) -> Result<Vec<PathBuf>, InitError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InitError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(io(folder))?;
    let files = files(folder, options)?;
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.name)).collect();
    // A chip or a server's memory of another site beside new keys would only confuse.
    let configurations = paths.iter().filter(|p| p.extension().is_some_and(|e| e == "toml"));
    let memories = configurations.flat_map(|p| [p.with_extension("chip"), p.with_extension("db")]);
    if let Some(path) = memories.chain(paths.iter().cloned()).find(|p| p.exists()) {
        return Err(InitError::Exists(path));
    }
    let applications = folder.join("apps");
    let had_applications = applications.exists();
    fs::create_dir_all(&applications).map_err(io(&applications))?;
    for (done, (path, file)) in paths.iter().zip(&files).enumerate() {
        if let Err(source) = write(path, file) {
            // What was written a moment ago is of no use without the rest. This one is not ours if it was there.
            let ours = done + usize::from(source.kind() != io::ErrorKind::AlreadyExists);
            for path in paths.iter().take(ours) {
                let _ = fs::remove_file(path);
            }
            if !had_applications {
                let _ = fs::remove_dir(&applications);
            }
            return Err(match source.kind() {
                io::ErrorKind::AlreadyExists => InitError::Exists(path.clone()),
                _ => InitError::Io {
                    path: path.clone(),
                    source,
                },
            });
        }
    }
    Ok(paths)
}

fn write(path: &Path, file: &NewFile) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if file.secret { 0o600 } else { 0o644 });
    options.open(path)?.write_all(&file.content)
}

/// All files. Nothing in the folder is changed.
fn files(folder: &Path, options: InitOptions) -> Result<Vec<NewFile>, InitError> {
    let phones = options.phones.max(1);
    let site = Site::generate(phones, options.usim)?;
    let secret = |name: String, content: String| NewFile {
        name,
        content: content.into_bytes(),
        secret: true,
    };
    let (certificates, token) = certificates(folder)?;
    let mut files = vec![
        secret("lock.toml".into(), site.lock_toml()),
        secret("server.toml".into(), site.server_toml(&token)),
    ];
    for index in 0..phones {
        let stem = if index == 0 {
            "phone".to_owned()
        } else {
            format!("phone-{}", index + 1)
        };
        if let Some(text) = site.phone_toml(index, &format!("{stem}.chip"), options.bare_phone) {
            files.push(secret(format!("{stem}.toml"), text));
        }
    }
    files.push(secret("provider.key".into(), site.provider_key()));
    files.extend(certificates);
    files.extend(site.load_files().into_iter().map(|(name, content)| NewFile {
        name,
        content,
        secret: false,
    }));
    Ok(files)
}

/// The authority, the server's certificate and the administration token: their files, and the token. They are made aside, in a folder that is gone
/// afterwards.
fn certificates(folder: &Path) -> Result<(Vec<NewFile>, String), InitError> {
    let fault = |source| InitError::Io {
        path: folder.to_path_buf(),
        source,
    };
    let aside = tempfile::Builder::new().prefix(".init-").tempdir_in(folder).map_err(fault)?;
    let made = ca::init(aside.path(), &NAMES.map(str::to_owned))?;
    let token = fs::read_to_string(&made.admin_token).map_err(fault)?;
    let files = [
        (ca::CA_CERTIFICATE, &made.ca_certificate, false),
        (ca::CA_KEY, &made.ca_key, true),
        (ca::SERVER_CERTIFICATE, &made.certificate, false),
        (ca::SERVER_KEY, &made.key, true),
        (ca::ADMIN_TOKEN, &made.admin_token, true),
    ];
    let mut out = Vec::with_capacity(files.len());
    for (name, path, secret) in files {
        out.push(NewFile {
            name: name.into(),
            content: fs::read(path).map_err(fault)?,
            secret,
        });
    }
    Ok((out, token.trim().to_owned()))
}
