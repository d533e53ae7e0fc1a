#!/usr/bin/env escript
%% What a real supervisor makes of a new specification while it runs.
%%
%% A line of input is `BEFORE|AFTER`; a page is `STRATEGY PERIOD [ID:RESTART ..]`. The answer is
%% `ok` or `error` and then what is listed, newest first, each as `ID:RESTART:up` or `..:down`.
%%! -kernel logger_level none
-mode(compile).
-export([init/1, start/0]).

main(_) ->
    process_flag(trap_exit, true),
    ets:new(page, [named_table, public]),
    loop().

loop() ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            [Before, After] = string:split(string:trim(Line), "|"),
            io:format("~s~n", [change(page(Before), page(After))]),
            loop()
    end.

change(Before, After) ->
    ets:insert(page, {now, Before}),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    {#{strategy := Strategy}, _} = Before,
    Strategy =:= simple_one_for_one andalso supervisor:start_child(Supervisor, []),
    ets:insert(page, {now, After}),
    sys:suspend(Supervisor),
    Outcome = sys:change_code(Supervisor, ?MODULE, undefined, []),
    sys:resume(Supervisor),
    Word = case Outcome of ok -> "ok"; {error, _} -> "error" end,
    Listed = [listed(Supervisor, Child) || Child <- supervisor:which_children(Supervisor)],
    unlink(Supervisor),
    exit(Supervisor, kill),
    lists:join(" ", [Word | Listed]).

listed(Supervisor, {Id, Process, _, _}) ->
    Name = case Id of undefined -> Process; _ -> Id end,
    {ok, #{id := Written, restart := Restart}} = supervisor:get_childspec(Supervisor, Name),
    State = case is_pid(Process) of true -> up; false -> down end,
    io_lib:format("~s:~s:~s", [Written, Restart, State]).

page(Text) ->
    [Strategy, Period | Children] = string:lexemes(Text, " "),
    Flags = #{strategy => list_to_atom(Strategy), intensity => 3,
              period => list_to_integer(Period)},
    {Flags, [child(string:split(Child, ":")) || Child <- Children]}.

child([Id, Restart]) ->
    #{id => Id, start => {?MODULE, start, []}, restart => list_to_atom(Restart)}.

init(_) ->
    [{now, Page}] = ets:lookup(page, now),
    {ok, Page}.

start() -> {ok, spawn_link(fun() -> receive stop -> ok end end)}.
