//! Real servers in directories of their own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use otp::{Clock, Root, Strategy, SupervisorSpec};

use super::*;

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("finnest-postgres-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    fn options(&self) -> Options {
        // What is written here need not survive the machine, only the server.
        let settings = [("fsync", "off"), ("max_connections", "20"), ("shared_buffers", "16MB")];
        Options {
            data_dir: Some(self.0.clone()),
            settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
            ..Options::default()
        }
    }

    async fn prepare(&self) -> Embedded {
        Embedded::prepare(self.options()).await.expect("a server is installed on this machine")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn supervise(embedded: &Embedded) -> Root {
    let top = SupervisorSpec::new(Strategy::OneForOne).child(embedded.child());
    Root::start(top, Clock::system()).await.expect("the server starts")
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    options.connect().await.expect("the server answers")
}

/// Waits until the server answers again.
async fn reconnect(options: &PgConnectOptions) -> PgConnection {
    let answers = async {
        loop {
            match options.connect().await {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(READY_WITHIN, answers).await.expect("the server comes back")
}

fn kill(id: u32) {
    let status = std::process::Command::new("kill").args(["-KILL", &id.to_string()]).status();
    assert!(status.expect("every system has kill").success());
}

#[tokio::test]
async fn a_killed_server_comes_back_with_everything_it_answered() {
    let folder = Folder::new("kill");
    let embedded = folder.prepare().await;
    let root = supervise(&embedded).await;
    let owner = embedded.owner_options();
    let mut connection = connect(&owner).await;
    sqlx::raw_sql("create table kept (number int); insert into kept select generate_series(1, 10)")
        .execute(&mut connection)
        .await
        .expect("the owner may do anything");

    kill(cluster::PidFile::read(&embedded.place.data).expect("it runs").id);
    drop(connection);
    let mut connection = reconnect(&owner).await;

    let kept: i64 = sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut connection)
        .await
        .expect("the table is still there");
    assert_eq!(kept, 10);
    let server = root.tree().snapshot().children.remove(0);
    assert_eq!(server.last_exit.map(|end| end.to_string()).as_deref(), Some("signal:SIGKILL"));
    root.stop().await;
    assert!(cluster::PidFile::read(&embedded.place.data).is_none(), "it was shut down in order");
}

#[tokio::test]
async fn data_survive_the_platform_and_commands_find_the_server_while_it_runs() {
    let folder = Folder::new("again");
    let embedded = folder.prepare().await;
    let root = supervise(&embedded).await;
    let mut connection = connect(&embedded.owner_options()).await;
    let setup =
        "create role finnest_app login; create table kept (); grant select on kept to finnest_app";
    sqlx::raw_sql(setup).execute(&mut connection).await.expect("the owner may do anything");
    connection.close().await.expect("the server still answers");
    root.stop().await;
    drop(embedded);

    let before = Attached::find(&folder.options()).expect("the folder can be read");
    let embedded = folder.prepare().await;
    let root = supervise(&embedded).await;
    let attached = Attached::find(&folder.options()).expect("the folder can be read");

    assert_eq!(before, None);
    let attached = attached.expect("the server runs");
    assert_eq!(attached.socket_dir, embedded.socket_dir());
    let mut app = connect(&attached.app_options()).await;
    let kept = sqlx::query("select from kept").fetch_all(&mut app).await;
    assert!(kept.expect("the application may read it").is_empty());
    app.close().await.expect("the server still answers");
    root.stop().await;
}

#[tokio::test]
async fn two_platforms_cannot_use_one_directory() {
    let folder = Folder::new("twice");
    let first = folder.prepare().await;
    let root = supervise(&first).await;
    let owner = first.owner_options();
    drop(first);

    let second = Embedded::prepare(folder.options()).await;

    let said = second.expect_err("the child of the first one still lives").to_string();
    let path = folder.0.display();
    assert_eq!(
        said,
        format!(
            "another finnest already uses {path}; stop it, or set FINNEST_DATA_DIR to another \
             directory"
        )
    );
    connect(&owner).await.close().await.expect("the first server was left alone");
    root.stop().await;
    folder.prepare().await;
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_are_left_alone() {
    let folder = Folder::new("version");
    std::fs::create_dir(folder.0.join("pg")).expect("the folder is writable");
    std::fs::write(folder.0.join("pg/PG_VERSION"), "9\n").expect("the folder is writable");

    let said = Embedded::prepare(folder.options()).await.expect_err("too old").to_string();

    assert!(said.contains("were written by PostgreSQL 9, which is not installed"), "{said}");
}

#[tokio::test]
async fn a_directory_the_servers_user_cannot_enter_is_refused_by_name() {
    let folder = Folder::new("closed");
    let closed = folder.0.join("closed");
    std::fs::create_dir(&closed).expect("the folder is writable");
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("it is ours");
    let options = Options { data_dir: Some(closed.join("data")), ..folder.options() };
    let place = Place::choose(options.data_dir.as_deref()).expect("there is a place");
    if place.server_user.is_none() {
        return; // The server runs as ourselves, who can enter.
    }

    let said = Embedded::prepare(options).await.expect_err("nobody else can enter").to_string();

    assert!(said.contains("who cannot enter"), "{said}");
    assert!(said.contains(&format!("{};", closed.display())), "{said}");
}

#[test]
fn a_long_path_has_its_socket_elsewhere() {
    let long = PathBuf::from("/srv").join("x".repeat(100));

    let place = Place::choose(Some(&long)).expect("there is a place");

    assert!(place.socket.starts_with("/tmp"), "{}", place.socket.display());
    assert_eq!(place.data, long.join("pg"));
}
