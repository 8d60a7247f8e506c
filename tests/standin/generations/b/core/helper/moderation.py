def check_moderation(tenant_id, model_config, text):
    return "forbidden" in text
