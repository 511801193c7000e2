%% The counter as gen_server, the same in both versions but for its state: what counter 1.0.0 and 1.1.0 are here.
%% ?VSN is 1 or 2. Every row of version 2 has one more field, so that `code_change` rewrites each of them.

-behaviour(gen_server).
-vsn(?VSN).
-export([start/1, init/1, handle_call/3, handle_cast/2, code_change/3]).

-record(v1, {total = 0, open = #{}, rows = []}).
-record(v2, {total = 0, open = #{}, mine = #{}, rows = []}).

start(Rows) ->
    {ok, Pid} = gen_server:start(?MODULE, Rows, []),
    Pid.

%% Names are binaries of their own, as long as a row's name in our counter.
init(Rows) ->
    Name = fun(Id) -> iolist_to_binary(io_lib:format("a row that a swap carries ~7..0b", [Id])) end,
    {ok, #v1{rows = [{row, Id, Name(Id), Id * 7} || Id <- lists:seq(1, Rows)]}}.

handle_cast(_, State) ->
    {noreply, State}.

handle_call(incr, _, State = #v1{total = Total}) ->
    {reply, Total + 1, State#v1{total = Total + 1}};
handle_call(incr, _, State = #v2{total = Total}) ->
    {reply, Total + 1, State#v2{total = Total + 1}};
%% What a caller may check: how many rows there are, and in which form.
handle_call(rows, _, State = #v1{rows = Rows}) ->
    {reply, {1, length([Id || {row, Id, _, _} <- Rows])}, State};
handle_call(rows, _, State = #v2{rows = Rows}) ->
    {reply, {2, length([Id || {row, Id, _, _, _} <- Rows])}, State}.
