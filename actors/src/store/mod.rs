//! To come.
/// A pass.
pub struct Pass {
    /// Changes.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Meta.
    pub meta: Vec<u8>,
}
/// Errors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// To come.
    #[error("to come")]
    ToCome,
}

/// Store.
pub struct Store;
impl Store {
    /// Flush.
    pub async fn flush(&self) -> Result<(), StoreError> { Ok(()) }
}
