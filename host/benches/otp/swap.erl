%% Swaps gen_servers up and down, as a release handler does it, and says how long they stood still.
%%
%% Commands on standard input, one a line, each answered by one line of microseconds:
%%   single ROWS        a new server with so many rows                    -> ready
%%   many PROCESSES     so many new servers without rows                  -> ready
%%   up | down          suspend, load, code_change, resume                -> PAUSE LOAD CHANGE
%%
%% What can be done before the pause is: the code is read, and old code purged, while the servers serve.
-module(swap).
-export([main/1]).

main([Folder]) ->
    Code = [{Vsn, code_of(Folder, Vsn)} || Vsn <- [1, 2]],
    loop(Code, []).

code_of(Folder, Vsn) ->
    Source = filename:join(Folder, "counter_" ++ integer_to_list(Vsn) ++ ".erl"),
    {ok, counter, Binary} = compile:file(Source, [binary, {i, Folder}]),
    Binary.

loop(Code, Servers) ->
    case io:get_line("") of
        eof -> ok;
        Line -> loop(Code, command(string:lexemes(Line, " \n"), Code, Servers))
    end.

command(["single", Rows], Code, Servers) ->
    begin_anew(Code, Servers, 1, list_to_integer(Rows));
command(["many", Processes], Code, Servers) ->
    begin_anew(Code, Servers, list_to_integer(Processes), 0);
command([Way], Code, Servers) ->
    {To, Label} = case Way of "up" -> {2, 1}; "down" -> {1, {down, 2}} end,
    {_, Binary} = lists:keyfind(To, 1, Code),
    code:purge(counter),
    Start = now_us(),
    ok = each(fun sys:suspend/1, Servers),
    Suspended = now_us(),
    {module, counter} = code:load_binary(counter, "counter.beam", Binary),
    Loaded = now_us(),
    ok = each(fun(Server) -> sys:change_code(Server, counter, Label, [], infinity) end, Servers),
    Changed = now_us(),
    ok = each(fun sys:resume/1, Servers),
    Resumed = now_us(),
    {To, _} = gen_server:call(hd(Servers), rows, infinity),
    io:format("~b ~b ~b~n", [Resumed - Start, Loaded - Suspended, Changed - Loaded]),
    Servers.

begin_anew(Code, Servers, Processes, Rows) ->
    [exit(Server, kill) || Server <- Servers],
    code:purge(counter),
    {_, Binary} = lists:keyfind(1, 1, Code),
    {module, counter} = code:load_binary(counter, "counter.beam", Binary),
    New = [counter:start(Rows) || _ <- lists:seq(1, Processes)],
    io:format("ready~n"),
    New.

each(Do, Servers) ->
    [ok = Do(Server) || Server <- Servers],
    ok.

now_us() ->
    erlang:monotonic_time(microsecond).
