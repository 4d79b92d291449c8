//! Types and small functions that several rooms share and that belong to none of them.

pub(crate) mod command;
pub(crate) mod loopback;
pub(crate) mod text;

use std::pin::Pin;
use std::sync::Arc;

use secrecy::SecretString;

/// A boxed future, so that a trait with it can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Reads a secret from where it is kept. It may block and is called off the runtime's workers, anew
/// at each use, so a changed secret needs no restart. Its error text must not hold the secret.
pub type SecretReader = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;
