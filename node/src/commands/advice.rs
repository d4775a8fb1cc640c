//! What somebody at a command line does about a refusal of a door. The doors say what is wrong; what helps is another command,
//! which only this side knows.

use queenright_bench::client::ClientError;
use queenright_bench::client::wire::Code;

/// What to do next; nothing where the error itself says all there is to say.
pub(super) fn next(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        ClientError::Problem(problem) => return of_code(problem.code),
        ClientError::Unreachable { .. } => {
            "is the node up, and this its address (--node, QUEENRIGHT_NODE)? `queenright doctor` looks for what is wrong"
        }
        ClientError::Untrusted { .. } => "--ca FILE, or QUEENRIGHT_CA, names the authority of the cluster",
        ClientError::Timeout { .. } | ClientError::Lost { .. } => return of_code(Code::UnknownOutcome),
        ClientError::BadResponse { .. } => "does another program listen there, or a node of another version?",
        ClientError::Unsendable { .. } => return None,
    })
}

/// The same of what a door answers.
pub(super) fn of_code(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::NotFound => "the list of its sort shows what there is, and --project in which project",
        Code::Held => "take something else, or wait with --wait where there is one, or ask the holder",
        Code::Fenced => "it is not yours any more: drop the work, and claim or reserve anew",
        Code::Expired => "claim or reserve anew: `queenright session open` begins another session",
        Code::CursorExpired | Code::CursorAhead => "begin anew with --snapshot, and go on from its cursor",
        Code::IdempotencyKeyConflict => "another command has that --idempotency-key: use another one",
        Code::Unauthorized => {
            "--token-file FILE, or QUEENRIGHT_AUTH_TOKEN, shows a token; `queenright token create` makes one"
        }
        Code::Forbidden => "show a token of a wider scope: `queenright token list` names those there are",
        Code::Unavailable => "try again in some seconds; `queenright status` says how the cluster is",
        Code::UnknownOutcome => {
            "look whether it took effect before you do it again, or repeat it under one --idempotency-key"
        }
        Code::Quota => "end or remove something, or raise the limit: `queenright project limits`",
        Code::Busy | Code::SlowSubscriber => "try again in a moment",
        Code::DiskLow => "make room on the disks: `queenright doctor` says where",
        Code::MemoryLow => "try again in some seconds, or at another node",
        Code::Conflict
        | Code::Invalid
        | Code::TooLarge
        | Code::WrongType
        | Code::MissingContent
        | Code::MethodNotAllowed
        | Code::Internal
        | Code::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::Problem;

    use super::*;
    use crate::commands::CliError;

    #[test]
    fn a_refusal_says_what_to_do_next_to_people_and_to_programs() {
        let problem = Problem::new(Code::Unauthorized, "there is no such token");
        let error = CliError::from(ClientError::Problem(Box::new(problem)));
        let line = error.report(false);
        assert!(
            line.starts_with("error: there is no such token; next: --token-file FILE") && !line.contains('\n'),
            "{line}"
        );
        let json: serde_json::Value = serde_json::from_str(&error.report(true)).unwrap();
        assert_eq!(
            (&json["code"], &json["message"]),
            (&"UNAUTHORIZED".into(), &"there is no such token".into())
        );
        assert!(
            json["next"].as_str().unwrap().contains("`queenright token create`"),
            "{json}"
        );
        let problem = Problem::new(Code::Invalid, "limit: 0 is too small");
        let error = CliError::from(ClientError::Problem(Box::new(problem)));
        assert_eq!(error.report(false), "error: limit: 0 is too small");
        assert!(!error.report(true).contains("next"));
    }
}
