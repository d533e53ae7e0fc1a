#!/usr/bin/env escript
%% -*- erlang -*-
%%! +S 1:1
%%
%% Plays scenarios of supervision on the supervisor of Erlang/OTP and prints the traces it leaves.
%%
%%     escript play_scenarios.escript SCENARIOS.jsonl > TRACES.jsonl
%%
%% One scenario a line goes in, `{"name":...,"trace":[...]}` a line comes out, in the same order.
%% With one scheduler two runs give the same bytes.
%%
%% Every child reports to the book, a process that knows the plans, numbers the lives of each path
%% and monitors all of them. A report is a call, and before the book takes one it waits for the
%% news of every death that has happened by then, so its events are in the order of the facts.

-module(play_scenarios).
-mode(compile).
-export([main/1, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([start_worker/2, start_instance/3, start_supervisor/2]).

-define(STUCK_AFTER_MS, 60000).

main([File]) ->
    logger:set_primary_config(level, none),
    load_everything(),
    {ok, Input} = file:read_file(File),
    Lines = binary:split(Input, <<"\n">>, [global, trim_all]),
    lists:foreach(fun(Line) -> print(decode(Line)) end, Lines),
    halt(0);
main(_) ->
    complain("usage: play_scenarios.escript SCENARIOS.jsonl", []).

%% A process that needs a module for the first time waits for it with an empty mailbox, and so looks
%% idle in the middle of its exit. On a busy machine that took long enough to be believed.
load_everything() ->
    Modules = lists:append([
        begin
            {ok, Names} = application:get_key(Application, modules),
            Names
        end || Application <- [kernel, stdlib]
    ]),
    code:ensure_modules_loaded(Modules).

print(Scenario) ->
    Name = maps:get(<<"name">>, Scenario, <<"?">>),
    %% A process of its own is the parent of each root, and takes everything along when it ends.
    {Pid, Monitor} = spawn_monitor(fun() -> exit({trace, scenario(Scenario)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {trace, Trace}} ->
            io:put_chars([encode({[{name, Name}, {trace, Trace}]}), $\n]);
        {'DOWN', Monitor, process, Pid, Reason} ->
            complain("scenario ~s cannot be played: ~p", [Name, Reason])
    after ?STUCK_AFTER_MS ->
        complain("scenario ~s never ends", [Name])
    end.

complain(Format, Arguments) ->
    io:format(standard_error, Format ++ "~n", Arguments),
    halt(1).

%% ------------------------------------------------------------------------------ the scenario

scenario(#{<<"sup">> := Sup, <<"actions">> := Actions} = Scenario) ->
    process_flag(trap_exit, true),
    ets:new(live, [named_table, public]),     % {Pid, Path, Life, supervisor | worker | instance}
    ets:new(newest, [named_table, public]),   % {Path, Pid, Kind}: of the last life of each path
    ets:new(simple, [named_table, public]),   % {Path}: its children are instances
    Plans = maps:get(<<"plans">>, Scenario, #{}),
    Book = spawn_link(fun() ->
        book(#{plans => Plans, lives => #{}, events => [], count => 0, hold => none, held => none})
    end),
    register(book, Book),
    Started = (catch supervisor:start_link(?MODULE, {supervisor, <<"root">>, Sup})),
    await_quiet(),
    First = step(0, <<"start">>, start_of_root(Started), []),
    Trace = case Started of
        {ok, Root} -> [First | play(Actions, 1, Root)];
        _ -> [First]
    end,
    unlink(Book),
    kill(Book),
    Trace.

start_of_root({ok, _}) -> <<"ok">>;
start_of_root(ignore) -> <<"ignore">>;
start_of_root({error, Error}) -> error_object(refusal(Error)).

play([], Number, Root) ->
    Tree = step(Number, <<"final_tree">>, final_tree(), []),
    Monitor = monitor(process, Root),
    exit(Root, shutdown),
    receive {'DOWN', Monitor, process, Root, _} -> ok end,
    await_quiet(),
    [Tree, step(Number + 1, <<"shutdown_root">>, null, [])];
play([#{<<"op">> := Op} = Action | Rest], Number, Root) ->
    Result = act(Op, Action),
    await_quiet(),
    %% Below a supervisor that was killed, everything happens at the same time.
    Unordered = [{unordered, true} || Op =:= <<"kill">>, is_supervisor(path(Action))],
    receive
        {'EXIT', Root, Reason} ->
            await_quiet(),
            [step(Number, Op, Result, Unordered ++ [{root_dead, reason(Reason)}])]
    after 0 ->
        Step = step(Number, Op, Result, Unordered),
        [Step | play(Rest, Number + 1, Root)]
    end.

step(Number, Op, Result, More) ->
    Events = canonical(tell_book(take)),
    {[{step, Number}, {op, Op}, {events, Events}, {result, Result} | More]}.

final_tree() ->
    Shown = fun(Pid) -> {[{children, children_of(Pid)}, {count, counts_of(Pid)}]} end,
    {lists:sort([{Path, Shown(Pid)} || {Pid, Path, _, supervisor} <- ets:tab2list(live)])}.

%% The tree is quiet when, three times in a row, every supervisor answers, nobody has mail or runs,
%% and nothing new was recorded meanwhile.
await_quiet() -> await_quiet(0).

await_quiet(3) -> ok;
await_quiet(Calm) ->
    Before = tell_book(count),
    [catch supervisor:count_children(Pid) || {Pid, _, _, supervisor} <- ets:tab2list(live)],
    Idle = lists:all(fun({Pid, _, _, _}) -> is_idle(Pid) end, ets:tab2list(live)),
    erlang:yield(),
    case Idle andalso tell_book(count) =:= Before of
        true when Calm =:= 1 -> timer:sleep(1), await_quiet(Calm + 1);
        true -> await_quiet(Calm + 1);
        false -> erlang:yield(), await_quiet(0)
    end.

is_idle(Pid) ->
    process_info(Pid, [status, message_queue_len]) =:= [{status, waiting}, {message_queue_len, 0}].

%% ------------------------------------------------------------------------------- the actions

act(<<"kill">>, Action) ->
    case alive(path(Action)) of
        none -> <<"not_running">>;
        Pid -> kill(Pid), <<"ok">>
    end;
act(<<"stop">>, #{<<"reason">> := Reason} = Action) ->
    case alive(path(Action)) of
        none -> <<"not_running">>;
        Pid ->
            Monitor = monitor(process, Pid),
            gen_server:cast(Pid, {stop, exit_term(Reason)}),
            receive {'DOWN', Monitor, process, Pid, _} -> <<"ok">> end
    end;
act(<<"kill_many">>, #{<<"sup">> := Path, <<"paths">> := Paths}) ->
    case alive(Path) of
        none -> <<"not_running">>;
        Supervisor ->
            ok = sys:suspend(Supervisor),
            Results = [act(<<"kill">>, #{<<"path">> => Each}) || Each <- Paths],
            ok = sys:resume(Supervisor),
            Results
    end;
act(<<"plan">>, #{<<"outcomes">> := Outcomes} = Action) ->
    tell_book({plan, path(Action), Outcomes}),
    <<"ok">>;
act(<<"sleep">>, #{<<"ms">> := Milliseconds}) ->
    timer:sleep(Milliseconds),
    <<"ok">>;
act(<<"held_restart">>, #{<<"queue">> := Queue} = Action) ->
    Path = path(Action),
    case {alive(Path), alive(parent(Path))} of
        {Pid, Supervisor} when is_pid(Pid), is_pid(Supervisor) ->
            held_restart(Path, Pid, Supervisor, Queue);
        _ -> <<"not_running">>
    end;
act(Request, #{<<"sup">> := Path} = Action) ->
    case alive(Path) of
        none -> {[{exit, <<"noproc">>}]};
        Supervisor ->
            try request(Request, Supervisor, Action)
            catch exit:{Reason, {gen_server, call, _}} -> {[{exit, reason(Reason)}]}
            end
    end.

request(<<"start_child">>, Supervisor, #{<<"tag">> := Tag}) ->
    started(supervisor:start_child(Supervisor, [Tag]));
request(<<"start_child">>, Supervisor, #{<<"sup">> := Path, <<"child">> := Child}) ->
    started(supervisor:start_child(Supervisor, child_spec(Path, Child)));
request(<<"terminate_child">>, Supervisor, Action) ->
    done(supervisor:terminate_child(Supervisor, name(Action)));
request(<<"restart_child">>, Supervisor, Action) ->
    started(supervisor:restart_child(Supervisor, name(Action)));
request(<<"delete_child">>, Supervisor, Action) ->
    done(supervisor:delete_child(Supervisor, name(Action)));
request(<<"get_childspec">>, Supervisor, Action) ->
    case supervisor:get_childspec(Supervisor, name(Action)) of
        {ok, Spec} ->
            Keys = [id, restart, significant, shutdown, type],
            {[{Key, maps:get(Key, Spec)} || Key <- Keys]};
        {error, Error} -> error_object(word(Error))
    end;
request(<<"which_children">>, Supervisor, _) -> children_of(Supervisor);
request(<<"count_children">>, Supervisor, _) -> counts_of(Supervisor).

%% A child as a request names it: by id, or as the newest process of a tag. A tag that was never
%% started stands for a live process that is no child.
name(#{<<"tag">> := Tag, <<"sup">> := Path}) ->
    case ets:lookup(newest, <<Path/binary, "/", Tag/binary>>) of
        [{_, Pid, _}] -> Pid;
        [] -> self()
    end;
name(#{<<"id">> := Id}) -> Id.

%% Kills a worker, holds its next start by the same supervisor open, lets the queue reach that
%% supervisor meanwhile, and then lets the start fail.
held_restart(Path, Pid, Supervisor, Queue) ->
    tell_book({hold, Path, Supervisor}),
    kill(Pid),
    case await_hold(Supervisor, 5) of
        none ->
            tell_book({hold, none, none}),
            {[{held, false}, {results, []}]};
        Starter ->
            Waiting = [enqueue(Item, Supervisor) || Item <- Queue],
            Starter ! go_on,
            {[{held, true}, {results, [answer(One) || One <- Waiting]}]}
    end.

%% The start is held, or the supervisor has nothing left to do, which is believed when it was seen
%% a few times.
await_hold(_, 0) -> none;
await_hold(Supervisor, Doubt) ->
    case tell_book(held) of
        none ->
            erlang:yield(),
            Items = [current_function, message_queue_len, status],
            case process_info(Supervisor, Items) of
                undefined -> await_hold(Supervisor, Doubt - 1);
                [{_, {gen_server, loop, _}}, {_, 0}, {_, waiting}] ->
                    await_hold(Supervisor, Doubt - 1);
                _ -> await_hold(Supervisor, 5)
            end;
        Starter -> Starter
    end.

enqueue(#{<<"op">> := Op} = Item, Supervisor) ->
    {message_queue_len, Length} = process_info(Supervisor, message_queue_len),
    case Op of
        <<"kill">> ->
            Result = act(Op, Item),
            [await_mail(Supervisor, Length + 1) || Result =:= <<"ok">>],
            {result, Result};
        _ ->
            {_, Monitor} = spawn_monitor(fun() -> exit({result, act(Op, Item)}) end),
            await_mail(Supervisor, Length + 1),
            Monitor
    end.

await_mail(Supervisor, Wanted) ->
    case process_info(Supervisor, message_queue_len) of
        {message_queue_len, Length} when Length < Wanted ->
            erlang:yield(),
            await_mail(Supervisor, Wanted);
        _ -> ok
    end.

answer({result, Result}) -> Result;
answer(Monitor) ->
    receive
        {'DOWN', Monitor, process, _, {result, Result}} -> Result;
        {'DOWN', Monitor, process, _, Reason} -> {[{exit, reason(Reason)}]}
    end.

kill(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% ------------------------------------------------------------------------------ the children

start_worker(Path, Child) -> gen_server:start_link(?MODULE, {worker, Path, Child}, []).

start_instance(Above, Child, Tag) -> start_worker(<<Above/binary, "/", Tag/binary>>, Child).

start_supervisor(Path, Sup) ->
    case tell_book({attempt, Path, self()}) of
        <<"ok">> -> supervisor:start_link(?MODULE, {supervisor, Path, Sup});
        Outcome -> failed_start(Outcome, fun(Error) -> {error, Error} end)
    end.

failed_start(<<"error">>, Wrap) -> Wrap(boom);
failed_start(<<"crash">>, _) -> error(boom);
failed_start(<<"ignore">>, _) -> ignore.

init({supervisor, Path, #{<<"children">> := Children} = Sup}) ->
    tell_book({start, Path, self(), supervisor}),
    Flags = words([strategy, intensity, period, auto_shutdown], Sup),
    [ets:insert(simple, {Path}) || #{strategy := simple_one_for_one} <- [Flags]],
    {ok, {Flags, [child_spec(Path, Child) || Child <- Children]}};
init({worker, Path, Child}) ->
    [Parent | _] = get('$ancestors'),
    Kind = case ets:member(simple, parent(Path)) of true -> instance; false -> worker end,
    case tell_book({attempt, Path, Parent}) of
        <<"ok">> -> up(Path, Child, Kind);
        <<"ok_crash">> -> self() ! crash, up(Path, Child, Kind);
        <<"hold">> -> receive go_on -> {stop, boom} end;
        Outcome -> failed_start(Outcome, fun(Error) -> {stop, Error} end)
    end.

up(Path, Child, Kind) ->
    Manner = maps:get(<<"on_shutdown">>, Child, prompt),
    process_flag(trap_exit, Manner =/= prompt),
    tell_book({start, Path, self(), Kind}),
    {ok, Manner}.

handle_call(_, _, Manner) -> {reply, ok, Manner}.

%% Who ends by itself does not do what it does when its supervisor tells it to.
handle_cast({stop, Reason}, _) -> {stop, Reason, prompt}.

handle_info(crash, _) -> {stop, boom, prompt};
handle_info(_, Manner) -> {noreply, Manner}.

terminate(shutdown, <<"ignore">>) -> receive after infinity -> ok end;
terminate(shutdown, <<"error">>) -> exit(bad_stop);
terminate(shutdown, <<"normal">>) -> exit(normal);
terminate(shutdown, #{<<"delay">> := Milliseconds}) -> timer:sleep(Milliseconds);
terminate(_, _) -> ok.

child_spec(Above, #{<<"id">> := Id} = Child) ->
    Path = <<Above/binary, "/", Id/binary>>,
    Start = case ets:member(simple, Above) of
        true -> {?MODULE, start_instance, [Above, Child]};
        false when map_get(<<"type">>, Child) =:= <<"supervisor">> ->
            {?MODULE, start_supervisor, [Path, map_get(<<"sup">>, Child)]};
        false -> {?MODULE, start_worker, [Path, Child]}
    end,
    (words([restart, significant, shutdown, type], Child))#{id => Id, start => Start}.

%% The named parts of an object, with words as atoms.
words(Keys, Object) ->
    Term = fun(Text) when is_binary(Text) -> binary_to_atom(Text); (Other) -> Other end,
    Named = [{Key, maps:find(atom_to_binary(Key), Object)} || Key <- Keys],
    maps:from_list([{Key, Term(Value)} || {Key, {ok, Value}} <- Named]).

%% ---------------------------------------------------------------------------------- the book

tell_book(What) ->
    Reference = make_ref(),
    book ! {tell, {self(), Reference}, What},
    receive {Reference, Answer} -> Answer end.

book(Book) ->
    receive
        {'DOWN', _, process, Pid, Reason} -> book(stopped(Pid, Reason, Book));
        {tell, {From, Reference}, What} ->
            {Answer, Next} = note(What, From, heard_of_deaths(What, Book)),
            From ! {Reference, Answer},
            book(Next)
    end.

%% What only looks something up must not wait for anybody.
heard_of_deaths(held, Book) -> Book;
heard_of_deaths(_, Book) -> heard_of_deaths(Book).

heard_of_deaths(Book) ->
    case [Pid || {Pid, _, _, _} <- ets:tab2list(live), not is_process_alive(Pid)] of
        [] -> Book;
        _ ->
            receive
                {'DOWN', _, process, Pid, Reason} -> heard_of_deaths(stopped(Pid, Reason, Book))
            end
    end.

note({start, Path, Pid, Kind}, _, #{lives := Lives} = Book) ->
    Life = maps:get(Path, Lives, 0) + 1,
    monitor(process, Pid),
    ets:insert(live, {Pid, Path, Life, Kind}),
    ets:insert(newest, {Path, Pid, Kind}),
    {ok, event([<<"start">>, Path, Life], Kind, Book#{lives := Lives#{Path => Life}})};
note({attempt, Path, Parent}, From, #{hold := {Path, Parent}} = Book) ->
    Next = event([<<"fail">>, Path, <<"error">>], worker, Book),
    {<<"hold">>, Next#{hold := none, held := From}};
note({attempt, Path, _}, _, #{plans := Plans} = Book) ->
    case Plans of
        #{Path := [Outcome | Rest]} ->
            {Outcome, attempted(Outcome, Path, Book#{plans := Plans#{Path := Rest}})};
        _ -> {<<"ok">>, Book}
    end;
note({plan, Path, Outcomes}, _, #{plans := Plans} = Book) ->
    {ok, Book#{plans := Plans#{Path => Outcomes}}};
note({hold, none, none}, _, Book) -> {ok, Book#{hold := none}};
note({hold, Path, Supervisor}, _, Book) -> {ok, Book#{hold := {Path, Supervisor}}};
note(held, _, #{held := Held} = Book) -> {Held, Book#{held := none}};
note(count, _, #{count := Count} = Book) -> {Count, Book};
note(take, _, #{events := Events} = Book) -> {lists:reverse(Events), Book#{events := []}}.

attempted(Outcome, _, Book) when Outcome =:= <<"ok">>; Outcome =:= <<"ok_crash">> -> Book;
attempted(Outcome, Path, Book) -> event([<<"fail">>, Path, Outcome], worker, Book).

stopped(Pid, Reason, Book) ->
    case ets:take(live, Pid) of
        [{_, Path, Life, Kind}] ->
            event([<<"stop">>, Path, Life, reason(Reason)], Kind, Book);
        [] -> Book
    end.

event(Event, Kind, #{events := Events, count := Count} = Book) ->
    Book#{events := [{Event, Kind} | Events], count := Count + 1}.

%% Instances of one specification are stopped together, in no order: each run of their stops is
%% sorted.
canonical([]) -> [];
canonical([{[<<"stop">>, Path | _], instance} | _] = Events) ->
    Parent = parent(Path),
    Together = fun
        ({[<<"stop">>, Other | _], instance}) -> parent(Other) =:= Parent;
        (_) -> false
    end,
    {Run, Rest} = lists:splitwith(Together, Events),
    lists:sort([Event || {Event, _} <- Run]) ++ canonical(Rest);
canonical([{Event, _} | Rest]) -> [Event | canonical(Rest)].

path(#{<<"path">> := Path}) -> Path.

parent(Path) ->
    case string:split(Path, "/", trailing) of
        [Above, _] -> Above;
        [_] -> <<>>
    end.

alive(Path) ->
    case ets:lookup(newest, Path) of
        [{_, Pid, _}] -> case is_process_alive(Pid) of true -> Pid; false -> none end;
        [] -> none
    end.

is_supervisor(Path) ->
    case ets:lookup(newest, Path) of
        [{_, _, Kind}] -> Kind =:= supervisor;
        [] -> false
    end.

%% ------------------------------------------------------------------------- answers and reasons

done(ok) -> <<"ok">>;
done({error, Error}) -> error_object(word(Error)).

started({ok, undefined}) -> {[{ok, <<"undefined">>}]};
started({ok, Pid}) -> {[{ok, life(Pid)}]};
started({error, {already_started, Pid}}) ->
    {[{error, <<"already_started">>}, {child, life(Pid)}]};
started({error, Error}) -> error_object(refusal(Error)).

error_object(Word) -> {[{error, Word}]}.

life(Pid) when is_pid(Pid) ->
    case ets:lookup(live, Pid) of
        [{_, _, Life, _}] -> <<"#", (integer_to_binary(Life))/binary>>;
        [] -> <<"dead">>
    end;
life(State) -> word(State).

children_of(Supervisor) ->
    [{_, Path, _, _}] = ets:lookup(live, Supervisor),
    Children = supervisor:which_children(Supervisor),
    case ets:member(simple, Path) of
        true -> lists:sort([[tag(Child), life(Child), Type] || {_, Child, Type, _} <- Children]);
        false -> [[Id, life(Child), Type] || {Id, Child, Type, _} <- Children]
    end.

tag(Pid) when is_pid(Pid) ->
    case ets:lookup(live, Pid) of
        [{_, Path, _, _}] -> lists:last(binary:split(Path, <<"/">>, [global]));
        [] -> <<"dead">>
    end;
tag(_) -> <<"?">>.

counts_of(Supervisor) -> {supervisor:count_children(Supervisor)}.

%% Why a start was refused or failed, as one word.
refusal({Error, Child}) when element(1, Child) =:= child -> refusal(Error);
refusal({start_spec, Error}) -> <<"start_spec:", (refusal(Error))/binary>>;
refusal({supervisor_data, Error}) -> <<"supervisor_data:", (refusal(Error))/binary>>;
refusal({shutdown, {failed_to_start_child, Id, _}}) -> <<"failed_to_start_child:", Id/binary>>;
refusal({'EXIT', {Error, _}}) -> refusal(Error);
refusal({Error, _}) -> refusal(Error);
refusal(boom) -> <<"start_failed">>;
refusal(Error) -> word(Error).

%% Why a process ended.
reason(Reason) when Reason =:= normal; Reason =:= shutdown; Reason =:= killed; Reason =:= noproc ->
    word(Reason);
reason({shutdown, {failed_to_start_child, Id, _}}) ->
    <<"shutdown:failed_to_start_child:", Id/binary>>;
reason({shutdown, Word}) -> <<"shutdown:", (word(Word))/binary>>;
reason({Reason, [Frame | _]}) when tuple_size(Frame) =:= 4 -> reason(Reason);
reason({Reason, {gen_server, call, _}}) -> reason(Reason);
reason({Reason, _}) -> <<"error:", (word(Reason))/binary>>;
reason(Reason) -> <<"error:", (word(Reason))/binary>>.

exit_term(<<"shutdown:", Word/binary>>) -> {shutdown, binary_to_atom(Word)};
exit_term(<<"error:", Word/binary>>) -> binary_to_atom(Word);
exit_term(Word) -> binary_to_atom(Word).

word(Word) -> atom_to_binary(Word).

%% -------------------------------------------------------------------------------------- JSON
%% Objects are read as maps and written from `{[{Key, Value}]}`, which keeps their order.

decode(Text) ->
    {Value, _} = value(blank(Text)),
    Value.

blank(<<Character, Rest/binary>>) when Character =< 32 -> blank(Rest);
blank(Text) -> Text.

value(<<"{", Rest/binary>>) -> object(blank(Rest), #{});
value(<<"[", Rest/binary>>) -> list(blank(Rest), []);
value(<<"\"", Rest/binary>>) -> text(Rest, <<>>);
value(<<"true", Rest/binary>>) -> {true, Rest};
value(<<"false", Rest/binary>>) -> {false, Rest};
value(<<"null", Rest/binary>>) -> {null, Rest};
value(Text) ->
    {Number, Rest} = string:take(Text, "-0123456789"),
    {binary_to_integer(Number), Rest}.

object(<<"}", Rest/binary>>, Object) -> {Object, Rest};
object(<<",", Rest/binary>>, Object) -> object(blank(Rest), Object);
object(Text, Object) ->
    {Key, Colon} = value(Text),
    <<":", Rest/binary>> = blank(Colon),
    {Value, Next} = value(blank(Rest)),
    object(blank(Next), Object#{Key => Value}).

list(<<"]", Rest/binary>>, List) -> {lists:reverse(List), Rest};
list(<<",", Rest/binary>>, List) -> list(blank(Rest), List);
list(Text, List) ->
    {Value, Rest} = value(Text),
    list(blank(Rest), [Value | List]).

%% Names in scenarios are plain; of the escapes only those of one character are understood.
text(<<"\"", Rest/binary>>, Text) -> {Text, Rest};
text(<<"\\", Character, Rest/binary>>, Text) -> text(Rest, <<Text/binary, Character>>);
text(<<Character, Rest/binary>>, Text) -> text(Rest, <<Text/binary, Character>>).

encode({Fields}) ->
    Field = fun({Key, Value}) -> [encode(Key), $:, encode(Value)] end,
    [${, lists:join($,, lists:map(Field, Fields)), $}];
encode(List) when is_list(List) -> [$[, lists:join($,, lists:map(fun encode/1, List)), $]];
encode(Text) when is_binary(Text) -> [$", Text, $"];
encode(Number) when is_integer(Number) -> integer_to_binary(Number);
encode(Word) when Word =:= true; Word =:= false; Word =:= null -> atom_to_binary(Word);
encode(Word) when is_atom(Word) -> encode(atom_to_binary(Word)).
