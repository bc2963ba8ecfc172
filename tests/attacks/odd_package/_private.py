def execute(state):
    return state
