-- Answers of the Responses API that their users may read again or continue. `input` is the request's own input as a JSON list of
-- items; what came before it is found through `previous_id`. `response` is the response as its caller got it (JSON). `reasoning` is
-- what a model wants back unchanged with the next request, as it stands in `encrypted_content` of a reasoning item.
create table responses (
    id text primary key,
    owner_id text not null,
    previous_id text,
    input text not null,
    response text not null,
    reasoning text,
    created_at timestamp not null
);
