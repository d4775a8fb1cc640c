//! The files of a repository as the nodes have agreed on them: in from a branch, out into a folder.

mod agreed;
mod branch;
mod check;
mod checkout;
mod error;
mod folder;
mod work_tree;

pub use self::agreed::{AgreedFile, AgreedTree, File};
pub(crate) use self::branch::writing;
pub use self::branch::{Branch, BranchChange};
pub use self::check::{CheckFailed, run_checks};
pub use self::checkout::{CheckoutReport, MANIFEST, checkout};
pub use self::error::TreeError;
pub use self::folder::read_folder;

/// Under which prefix files stand unless the caller names another one.
pub const PREFIX: &str = "tree/";
