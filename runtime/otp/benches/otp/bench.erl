%% The work of ours.rs on Erlang's own supervisor and gen_server: same sizes, same order, same method.
%% One run of `bench:main()` is one round; it prints a figure a line, as `name value`.
-module(bench).
-export([main/0, start_worker/1, init/1, handle_call/3, handle_cast/2]).

-define(IDLE, 20000).
-define(CHURNS, 10000).
-define(CALLS, 50000).
-define(CASTS, 200000).
-define(NESTS, 100).
-define(KILLS, 3000).
-define(TREE, 10000).
-define(CALL_TIMEOUT, 5000).

main() ->
    ok = logger:set_primary_config(level, none),
    spawn_and_memory(),
    churn(),
    calls(),
    casts(),
    restarts(),
    trees(),
    halt(0).

%% One process is a worker or a supervisor by what it is started with.
start_worker(Argument) -> gen_server:start_link(?MODULE, {worker, Argument}, []).

init({supervisor, Strategy, Children}) ->
    {ok, {#{strategy => Strategy, intensity => 1000000, period => 1}, Children}};
init({worker, Announce}) when is_pid(Announce) ->
    Announce ! {up, self()},
    {ok, 0};
init({worker, _}) ->
    {ok, 0}.

handle_call(ping, _From, State) -> {reply, pong, State}.

handle_cast(note, State) -> {noreply, State + 1}.

worker(Id, Argument) ->
    #{id => Id, start => {?MODULE, start_worker, [Argument]}}.

nest(Id, Strategy, Children) ->
    #{id => Id, start => {supervisor, start_link, [?MODULE, {supervisor, Strategy, Children}]},
      type => supervisor, shutdown => infinity}.

start(Strategy, Children) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, {supervisor, Strategy, Children}),
    Supervisor.

stop(Supervisor) ->
    Monitor = monitor(process, Supervisor),
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, Supervisor, shutdown} -> ok end.

spawn_and_memory() ->
    Supervisor = start(simple_one_for_one, [#{id => worker, start => {?MODULE, start_worker, []}}]),
    {Resident, Heap} = {resident(), erlang:memory(total)},
    Began = now_ns(),
    repeat(?IDLE, fun() -> {ok, _} = supervisor:start_child(Supervisor, [idle]) end),
    figure("spawn", (now_ns() - Began) / ?IDLE / 1000),
    figure("resident", (resident() - Resident) / ?IDLE),
    figure("heap", (erlang:memory(total) - Heap) / ?IDLE),
    stop(Supervisor).

churn() ->
    Supervisor = start(simple_one_for_one, [#{id => worker, start => {?MODULE, start_worker, []}}]),
    Turn = fun() ->
        {ok, Child} = supervisor:start_child(Supervisor, [idle]),
        ok = supervisor:terminate_child(Supervisor, Child)
    end,
    repeat(?CHURNS div 10, Turn),
    Began = now_ns(),
    repeat(?CHURNS, Turn),
    figure("churn", (now_ns() - Began) / ?CHURNS / 1000),
    stop(Supervisor).

calls() ->
    Supervisor = start(one_for_one, [worker(worker, idle)]),
    [{_, Worker, _, _}] = supervisor:which_children(Supervisor),
    Call = fun() -> pong = gen_server:call(Worker, ping, ?CALL_TIMEOUT) end,
    repeat(?CALLS div 10, Call),
    Samples = [timed(Call) || _ <- lists:seq(1, ?CALLS)],
    percentiles("call", Samples, 1),
    Began = now_ns(),
    repeat(?CALLS, Call),
    figure("call_rate", ?CALLS * 1.0e6 / (now_ns() - Began)),
    stop(Supervisor).

casts() ->
    Supervisor = start(one_for_one, [worker(worker, idle)]),
    [{_, Worker, _, _}] = supervisor:which_children(Supervisor),
    Send = fun(Count) ->
        repeat(Count, fun() -> gen_server:cast(Worker, note) end),
        %% Behind all casts of this sender, so its answer says that they were handled.
        pong = gen_server:call(Worker, ping, infinity)
    end,
    Send(?CASTS div 10),
    Began = now_ns(),
    Send(?CASTS),
    figure("cast", ?CASTS * 1.0e3 / (now_ns() - Began)),
    Again = now_ns(),
    Senders = [spawn_monitor(fun() -> Send(?CASTS div 2) end) || _ <- [1, 2]],
    [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Senders],
    figure("cast2", ?CASTS * 1.0e3 / (now_ns() - Again)),
    stop(Supervisor).

restarts() ->
    restarts("restart", 1),
    %% Spread out, because one supervisor also walks through the list of its past restarts.
    restarts("spread", ?NESTS).

restarts(Name, Nests) ->
    Me = self(),
    Nest = fun(Id) -> nest(Id, one_for_one, [worker(worker, Me)]) end,
    Supervisor = start(one_for_one, [Nest(Id) || Id <- lists:seq(1, Nests)]),
    Workers = queue:from_list([up() || _ <- lists:seq(1, Nests)]),
    percentiles(Name, kill(?KILLS, Workers, []), 1000),
    stop(Supervisor).

kill(0, _, Samples) -> Samples;
kill(Left, Workers, Samples) ->
    {{value, Worker}, Others} = queue:out(Workers),
    Began = now_ns(),
    exit(Worker, kill),
    Successor = up(),
    pong = gen_server:call(Successor, ping, ?CALL_TIMEOUT),
    Took = now_ns() - Began,
    kill(Left - 1, queue:in(Successor, Others), [Took | Samples]).

up() -> receive {up, Pid} -> Pid end.

trees() ->
    Workers = fun(Count) -> [worker(Id, idle) || Id <- lists:seq(1, Count)] end,
    Small = Workers(?TREE div ?NESTS),
    tree("tree", [nest(Id, one_for_one, Small) || Id <- lists:seq(1, ?NESTS)]),
    tree("flat", Workers(?TREE)).

tree(Name, Children) ->
    Began = now_ns(),
    Supervisor = start(one_for_one, Children),
    figure(Name ++ "_start", (now_ns() - Began) / 1.0e6),
    Stopping = now_ns(),
    stop(Supervisor),
    figure(Name ++ "_stop", (now_ns() - Stopping) / 1.0e6).

repeat(0, _) -> ok;
repeat(Count, Act) -> Act(), repeat(Count - 1, Act).

timed(Act) ->
    Began = now_ns(),
    Act(),
    now_ns() - Began.

now_ns() -> erlang:monotonic_time(nanosecond).

percentiles(Name, Samples, Unit) ->
    Sorted = lists:sort(Samples),
    Nth = fun(Percent) -> lists:nth(max(1, ceil(length(Sorted) * Percent / 100)), Sorted) / Unit end,
    figure(Name ++ "_p50", Nth(50)),
    figure(Name ++ "_p99", Nth(99)).

figure(Name, Value) -> io:format("~s ~.3f~n", [Name, float(Value)]).

resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kibibytes]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kibibytes) * 1024.
